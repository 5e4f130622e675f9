"""A pushing ZeroMQ socket that empties a queue of runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from lclstreamer.transport.records import PeerRecord
from lclstreamer.transport.run_queue import RunQueue, Seat
from lclstreamer.transport.runs import Run
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.window import FairShare
from lclstreamer.transport.wire import TICK_SECONDS
from lclstreamer.transport.zmq_watch import COPY_BELOW_BYTES, make_socket

if TYPE_CHECKING:
    import zmq

HIGH_WATER_MESSAGES = 64
"""How many messages ZeroMQ may hold per consumer."""
FINISH_SECONDS = 10.0
"""How long ZeroMQ may take to send the rest at the end."""
_PAUSE_SECONDS = 0.05
_LOOK_SECONDS = 0.002
_RECENT_SECONDS = 1.0


class ZmqOutlet:
    """All ZeroMQ consumers of one endpoint. `run` is its thread.

    ZeroMQ's consumers cannot confirm anything; what is sent counts as unconfirmed.

    Attributes:
        endpoint: where it listens or dials, with the port that was chosen.
        record: what is remembered of its consumers.
        seat: its place at the queue.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        queue: RunQueue,
        *,
        listen: bool,
        limit_bytes: int,
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        """Listen or begin to dial; ZeroMQ may hold ``limit_bytes`` of long messages at a time."""
        import zmq

        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = make_socket(self._context, zmq.PUSH, HIGH_WATER_MESSAGES)
        self.endpoint = self._socket.place(endpoint, listen=listen)
        self.record = PeerRecord(f"ZeroMQ consumers of {self.endpoint}", "zmq")
        self.seat = Seat(FairShare(limit_bytes), weight=0)
        self._queue = queue
        self._is_listening = listen
        self._finish_seconds = finish_seconds
        self._is_aborted = False
        self._on_the_way: deque[tuple[Run, list[zmq.MessageTracker]]] = deque()
        self._sent_at = 0.0

    @property
    def peers_seen(self) -> int:
        """How many consumers have connected so far."""
        return self._socket.seen

    @property
    def peers_left(self) -> int:
        """How many of them have left."""
        return self._socket.left

    def abort(self) -> None:
        """Stop at once."""
        self._is_aborted = True

    def run(
        self,
        on_start: Callable[[ZmqOutlet], None],
        on_end: Callable[[ZmqOutlet], None],
        *,
        timeout_seconds: float = 0.0,
    ) -> None:
        """Send until the end; a dialing outlet starts when its consumer has answered in time."""
        deadline = time.monotonic() + timeout_seconds
        while not self._is_listening and not self._socket.seen:
            self._socket.await_events(_PAUSE_SECONDS)
            if time.monotonic() > deadline or self._is_aborted:
                self._close(0.0)
                return
        self._queue.join(self.seat)
        on_start(self)
        try:
            self._pump()
        finally:
            self.record.returned_messages += self._queue.leave(self.seat)
            self._close(0.0 if self._is_aborted else self._finish_seconds)
            self.record.close("disconnected" if self._is_aborted else "closed")
            on_end(self)

    def _pump(self) -> None:
        import zmq

        while not self._is_aborted:
            is_ready = self._watch(0.0)
            self._release_sent()
            if self._queue.is_delivered:
                return
            if not self._socket.connected or not is_ready:
                self._watch(_PAUSE_SECONDS, zmq.POLLOUT if self._socket.connected else 0)
                continue
            # Nobody tells when ZeroMQ is done with a long message: it has to be looked for.
            run = self._queue.take(self.seat, _LOOK_SECONDS if self._on_the_way else TICK_SECONDS)
            if run is not None:
                self._send(run)

    def _watch(self, timeout_seconds: float, event: int | None = None) -> bool:
        """See who comes and leaves; whether the socket is ready for a message."""
        import zmq

        before = self._socket.left
        is_ready = self._socket.await_events(
            timeout_seconds, zmq.POLLOUT if event is None else event
        )
        self.seat.weight = self._socket.connected
        if self._socket.left != before and time.monotonic() - self._sent_at < _RECENT_SECONDS:
            self.record.problems.append(
                f"{self.record.name}: one left while messages flowed; some of the "
                f"{self.record.messages} sent until then may be lost"
            )
        return is_ready

    def _send(self, run: Run) -> None:
        import zmq

        trackers: list[zmq.MessageTracker] = []
        sent_bytes = 0
        for payload in run.payloads():
            is_long = len(payload) >= COPY_BELOW_BYTES
            while True:
                try:
                    tracker = self._socket.socket.send(
                        payload, zmq.NOBLOCK, copy=not is_long, track=is_long
                    )
                except zmq.Again:
                    if self._await_room():
                        continue
                    self._give_back(run, sent_bytes)
                    return
                break
            if tracker is not None:
                trackers.append(tracker)
            run.acknowledged += 1
            sent_bytes += len(payload)
        self._sent_at = time.monotonic()
        self.record.count(run.messages, sent_bytes)
        self._on_the_way.append((run, trackers))

    def _await_room(self) -> bool:
        """Wait until a consumer takes more; False if none is left or this was aborted."""
        import zmq

        while not self._is_aborted:
            if self._watch(_PAUSE_SECONDS, zmq.POLLOUT):
                return True
            if not self._socket.connected:
                return False
        return False

    def _give_back(self, run: Run, sent_bytes: int) -> None:
        """Nobody is here any more: others may have what was not sent."""
        self.record.count(run.acknowledged, sent_bytes)
        self._on_the_way.clear()
        self.record.returned_messages += self._queue.leave(self.seat)
        self._queue.join(self.seat)

    def _release_sent(self) -> None:
        while self._on_the_way and all(tracker.done for tracker in self._on_the_way[0][1]):
            self._queue.end(self.seat, self._on_the_way.popleft()[0])

    def _close(self, linger_seconds: float) -> None:
        self._socket.close(linger_seconds)
        begun = time.monotonic()
        self._context.term()
        if linger_seconds and time.monotonic() - begun > 0.95 * linger_seconds:
            self.record.problems.append(
                f"{self.record.name}: not everything was sent within {linger_seconds:g} s"
            )
