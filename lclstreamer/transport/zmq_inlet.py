"""A pulling ZeroMQ socket whose messages become runs in a queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lclstreamer.transport.packer import Packer
from lclstreamer.transport.records import PeerRecord
from lclstreamer.transport.run_queue import RunQueue
from lclstreamer.transport.runs import Run, lone_run
from lclstreamer.transport.slabs import SlabPool
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.wire import TICK_SECONDS
from lclstreamer.transport.zmq_watch import COPY_BELOW_BYTES, make_socket

if TYPE_CHECKING:
    import zmq

HIGH_WATER_MESSAGES = 4
"""How many messages ZeroMQ may hold per producer, beside the bound of the queue."""
_ROOM_SECONDS = 3600.0
_QUIET_SECONDS = 0.1  # no message for so long after the last producer left: there is no more


class ZmqInlet:
    """All ZeroMQ producers of one endpoint. `run` is its thread.

    ZeroMQ does not tell which producer a message is from, so they share one record.

    Attributes:
        endpoint: where it listens or dials, with the port that was chosen.
        record: what is remembered of its producers.
        end_document: always None: ZeroMQ's producers do not tell their end.
        is_open: whether its socket is.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        pool: SlabPool,
        queue: RunQueue,
        *,
        listen: bool,
        max_message_bytes: int,
        ends_after: int | None = None,
    ) -> None:
        """Listen or begin to dial.

        Args:
            endpoint: where.
            pool: the memory.
            queue: where the messages go.
            listen: whether producers dial this socket.
            max_message_bytes: ZeroMQ drops the connection of a producer that sends more.
            ends_after: how many producers must have left for the stream to end; None: `drain` ends.
        """
        import zmq

        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = make_socket(self._context, zmq.PULL, HIGH_WATER_MESSAGES)
        self._socket.socket.set(zmq.MAXMSGSIZE, max_message_bytes)
        self.endpoint = self._socket.place(endpoint, listen=listen)
        self.record = PeerRecord(f"ZeroMQ producers of {self.endpoint}", "zmq")
        self.end_document: dict[str, Any] | None = None
        self.is_open = True
        self._pool = pool
        self._queue = queue
        self._is_listening = listen
        self._ends_after = ends_after
        self._is_draining = False
        self._is_aborted = False
        self._packer = Packer(pool, self)

    @property
    def peers_seen(self) -> int:
        """How many producers have connected so far."""
        return self._socket.seen

    @property
    def peers_left(self) -> int:
        """How many of them have left."""
        return self._socket.left

    def run(
        self,
        on_start: Callable[[ZmqInlet], None],
        on_end: Callable[[ZmqInlet], None],
        *,
        timeout_seconds: float = 0.0,
    ) -> None:
        """Receive until the end; a dialing inlet starts when its producer has answered in time."""
        try:
            if self._is_listening or self._await_peer(timeout_seconds):
                on_start(self)
                self._pump()
                self.record.close("drained" if self._socket.connected else "disconnected")
                if self._socket.connected and self.record.messages:
                    self.record.problems.append(
                        f"{self.record.name}: {self._socket.connected} had not left at the end"
                    )
                on_end(self)
        finally:
            self.is_open = False
            self._socket.close()
            self._context.term()

    def _await_peer(self, timeout_seconds: float) -> bool:
        deadline = time.monotonic() + timeout_seconds
        while not self._socket.seen and time.monotonic() < deadline and not self._is_aborted:
            self._socket.await_events(TICK_SECONDS)
        return self._socket.seen > 0

    def drain(self) -> None:
        """Take what has been sent up to now, and no more."""
        self._is_draining = True

    def abort(self) -> None:
        """Stop at once."""
        self._is_aborted = True

    leave = abort

    def acknowledge(self, messages: int, payload_bytes: int) -> None:
        """ZeroMQ has no acknowledgements."""

    def flush(self) -> None:
        """ZeroMQ has no acknowledgements."""

    def _pump(self) -> None:
        import zmq

        quiet_since = time.monotonic()
        try:
            while not self._is_aborted:
                seen_left = self._socket.left
                if self._socket.await_events(_QUIET_SECONDS, zmq.POLLIN):
                    self._receive_burst()
                    quiet_since = time.monotonic()
                elif self._socket.left != seen_left:
                    quiet_since = time.monotonic()
                elif self._is_over() and time.monotonic() - quiet_since >= _QUIET_SECONDS:
                    return
            if self._socket.seen and not self._socket.connected:
                self.record.problems.append(
                    f"{self.record.name}: cut off; what was still on its way is not known"
                )
        finally:
            self._put(self._packer.take())
            self._packer.release()

    def _is_over(self) -> bool:
        if self._is_draining:
            return True
        have_left = self._socket.left >= (self._ends_after or 0) and not self._socket.connected
        return self._ends_after is not None and have_left

    def _receive_burst(self) -> None:
        """Take what is there; small messages go side by side into a slab, as one run."""
        import zmq

        receive = self._socket.socket.recv
        was_small = True
        while not self._is_aborted:
            try:
                message = receive(zmq.NOBLOCK, copy=was_small)
            except zmq.Again:
                break
            view = memoryview(message) if isinstance(message, bytes) else message.buffer
            if self._socket.socket.get(zmq.RCVMORE):
                self._refuse_parts()
                continue
            was_small = len(view) < COPY_BELOW_BYTES
            if not was_small:
                self._put(self._packer.take())  # what came before goes before
            if not (self._append(view) if was_small else self._put_own(view)):
                self._drop(len(view))
                break
        self._put(self._packer.take())

    def _refuse_parts(self) -> None:
        """A message of several parts cannot be passed on to a peer of another protocol."""
        import zmq

        while self._socket.socket.get(zmq.RCVMORE):
            self._socket.socket.recv(zmq.NOBLOCK)
        self.record.problems.append(
            f"{self.record.name}: a message of several parts was refused; send single parts"
        )

    def _drop(self, payload_bytes: int) -> None:
        """ZeroMQ has handed the message out, and its producer cannot be told: the ledger is."""
        self.record.lost_bytes += payload_bytes
        self.record.problems.append(
            f"{self.record.name}: a message of {payload_bytes} bytes that had come was dropped: "
            "no memory was free for it before this side was closed"
        )

    def _put_own(self, view: memoryview) -> bool:
        slab = self._pool.adopt(view, _ROOM_SECONDS)
        if slab is None:
            return False
        self._put(lone_run(slab, len(view), self))
        return True

    def _append(self, view: memoryview) -> bool:
        if not self._packer.fits(len(view)):
            self._put(self._packer.take())
        return self._packer.add(view, _ROOM_SECONDS)

    def _put(self, run: Run | None) -> None:
        if run is not None:
            self.record.count(run.messages, run.payload_bytes)
            self._queue.put(run)
