"""The pulling socket over SP: inlets and the queue that they fill."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from lclstreamer.core.errors import UnavailableError
from lclstreamer.transport.inlet import Inlet, PullOptions
from lclstreamer.transport.interface import StreamEnd
from lclstreamer.transport.listener import Listener
from lclstreamer.transport.run_queue import RunQueue, Seat
from lclstreamer.transport.runs import Run
from lclstreamer.transport.slabs import SlabPool
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.window import FairShare
from lclstreamer.transport.wire import TICK_SECONDS, Securing, TcpWire, Wire, dial

_LEAVE_SECONDS = 3.0


class SpPullSocket:
    """See `interface.PullSocket`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        listen: bool,
        options: PullOptions,
        timeout_seconds: float,
        limit_bytes: int,
        expected_producers: int = 1,
        securing: Securing = TcpWire,
    ) -> None:
        """Dial (trying until the time is over) or listen; see `connect.open_pull`."""
        self.endpoint = endpoint
        self.end: StreamEnd | None = None
        self._options = options
        self._pool = SlabPool(limit_bytes)
        self._queue = RunQueue(self._pool)
        self._seat = Seat(FairShare())
        self._queue.join(self._seat)
        self._run: Run | None = None
        self._payloads: Iterator[memoryview] = iter(())
        self._current_bytes: int | None = None  # the payload of the message that is in hand
        self._messages = 0
        self._bytes = 0
        self._inlets: list[Inlet] = []
        self._expected = expected_producers if listen else 1
        self._changed = threading.Condition()
        self._listener: Listener | None = None
        if listen:
            self._listener = Listener(endpoint, self._serve, securing=securing)
            self.endpoint = self._listener.endpoint
            self._listener.start()
        else:
            self._dial(timeout_seconds, securing)

    def _dial(self, timeout_seconds: float, securing: Securing) -> None:
        wire = dial(self.endpoint, timeout_seconds, securing)
        thread = threading.Thread(target=self._serve, args=(wire,), name="pull", daemon=True)
        thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._inlets or not thread.is_alive(), timeout_seconds)
        if not self._inlets:
            raise UnavailableError(
                f"{self.endpoint} is not a pushing socket of nng's protocol",
                mend="check the address; a ZeroMQ socket is dialed by zmq+tcp://…",
            )

    def _serve(self, wire: Wire) -> None:
        inlet = Inlet(wire, self._pool, self._queue, self._options)
        inlet.run(self._came, self._went)
        with self._changed:
            self._changed.notify_all()

    def _came(self, inlet: Inlet) -> None:
        with self._changed:
            self._inlets.append(inlet)
            self._changed.notify_all()

    def _went(self, _inlet: Inlet) -> None:
        with self._changed:
            ended = [other for other in self._inlets if other.record.end is not None]
            if len(ended) >= self._expected and len(ended) == len(self._inlets):
                self._queue.close()

    def receive(self, timeout_seconds: float = 3600.0) -> memoryview | None:
        """See `interface.PullSocket`."""
        self.acknowledge()
        payload = next(self._payloads, None)
        if payload is None:
            self._end_run()
            if not self._next_run(timeout_seconds):
                return None
            payload = next(self._payloads)
        self._current_bytes = len(payload)
        self._messages += 1
        self._bytes += self._current_bytes
        return payload

    def _next_run(self, timeout_seconds: float) -> bool:
        run = self._queue.take(self._seat, 0)
        deadline = time.monotonic() + timeout_seconds
        while run is None:
            for inlet in self._inlets:
                inlet.flush()  # whoever waits for us to finish must hear it before we wait for him
            if self._queue.is_delivered:
                self._set_end()
                return False
            left = deadline - time.monotonic()
            if left <= 0:
                raise UnavailableError(
                    f"no message came from {self.endpoint} within {timeout_seconds:g} s",
                    mend="check that producers are running, or wait longer",
                )
            run = self._queue.take(self._seat, min(left, 4 * TICK_SECONDS))
        self._run = run
        self._payloads = iter(run.payloads())
        return True

    def _end_run(self) -> None:
        run, self._run = self._run, None
        self._payloads = iter(())
        if run is not None:
            self._queue.end(self._seat, run)

    def acknowledge(self) -> None:
        """See `interface.PullSocket`."""
        if self._current_bytes is not None and self._run is not None:
            origin = self._run.origin
            if isinstance(origin, Inlet):
                origin.acknowledge(1, self._current_bytes)
        self._current_bytes = None

    def _set_end(self) -> None:
        records = [inlet.record for inlet in self._inlets]
        problems = [problem for record in records for problem in record.problems]
        is_told = all(record.end == "end_of_stream" for record in records) and not problems
        self.end = StreamEnd(
            "end_of_stream" if is_told else "disconnected",
            self._messages,
            self._bytes,
            ledger=self._ledger(),
            problems=problems,
        )

    def _ledger(self) -> dict[str, Any]:
        for inlet in self._inlets:
            if inlet.end_document and "ledger" in inlet.end_document:
                return inlet.end_document["ledger"]
        return {}

    def close(self, *, acknowledge: bool = True) -> None:
        """See `interface.PullSocket`."""
        if acknowledge:
            self.acknowledge()
        self._payloads = iter(())
        if self._listener is not None:
            self._listener.close()
        open_inlets = [inlet for inlet in self._inlets if inlet.record.end is None]
        for inlet in open_inlets:
            inlet.leave()
        self._pool.close()
        deadline = time.monotonic() + _LEAVE_SECONDS
        while time.monotonic() < deadline and any(i.is_open for i in open_inlets):
            with self._changed:
                self._changed.wait(TICK_SECONDS / 10)
        for inlet in open_inlets:
            inlet.abort()

    def __iter__(self) -> Iterator[memoryview]:
        while (payload := self.receive()) is not None:
            yield payload

    def __enter__(self) -> SpPullSocket:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close(acknowledge=exception[0] is None)
