"""The pulling socket: a queue that connections fill, whatever their protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol, Self, cast

from lclstreamer.core.errors import UnavailableError
from lclstreamer.transport.interface import StreamEnd
from lclstreamer.transport.records import PeerRecord
from lclstreamer.transport.run_queue import RunQueue, Seat
from lclstreamer.transport.runs import Run
from lclstreamer.transport.slabs import SlabPool
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.window import FairShare
from lclstreamer.transport.wire import TICK_SECONDS

_LEAVE_SECONDS = 3.0


class Producer(Protocol):
    """What a pulling socket needs to know of the connection to a producer."""

    record: PeerRecord
    end_document: dict[str, Any] | None
    is_open: bool

    def acknowledge(self, messages: int, payload_bytes: int) -> None:
        """So many more messages are done with."""
        ...

    def flush(self) -> None:
        """Tell the producer now what is done with."""
        ...

    def leave(self) -> None:
        """Take nothing more, in good order."""
        ...

    def abort(self) -> None:
        """Stop at once."""
        ...


class QueuedPullSocket:
    """A queue of messages, filled by connections; see `interface.PullSocket`.

    How connections come about is the business of subclasses: their threads call `came` and `went`.
    """

    def __init__(self, endpoint: Endpoint, *, limit_bytes: int, expected_producers: int) -> None:
        self.endpoint = endpoint
        self.end: StreamEnd | None = None
        self._pool = SlabPool(limit_bytes)
        self._queue = RunQueue(self._pool)
        self._seat = Seat(FairShare())
        self._queue.join(self._seat)
        self._run: Run | None = None
        self._payloads: Iterator[memoryview] = iter(())
        self._current_bytes: int | None = None  # the payload of the message that is in hand
        self._messages = 0
        self._bytes = 0
        self._producers: list[Producer] = []
        self._expected = expected_producers
        self._changed = threading.Condition()

    def _await_first(self, thread: threading.Thread, timeout_seconds: float) -> None:
        """Wait until the connection that this thread serves has proved to be a producer's."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:  # looked at again and again: nobody tells that a thread has ended
            while not self._producers and thread.is_alive() and time.monotonic() < deadline:
                self._changed.wait(TICK_SECONDS / 10)
        if not self._producers:
            raise UnavailableError(
                f"no pushing socket answers at {self.endpoint}",
                mend="check the address and its protocol (tcp:// for nng's, zmq+tcp:// for ZeroMQ)",
            )

    def _stop_listening(self) -> None:
        """Accept no more producers."""

    def came(self, producer: Producer) -> None:
        """A producer has proved to be one; called by its thread."""
        with self._changed:
            self._producers.append(producer)
            self._changed.notify_all()

    def went(self, _producer: Producer) -> None:
        """A producer has ended; called by its thread."""
        with self._changed:
            ended = sum(producer.record.end is not None for producer in self._producers)
            if ended >= self._expected and ended == len(self._producers):
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
            for producer in self._producers:
                producer.flush()  # it may wait for us before it sends more
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
            origin = cast("Producer", self._run.origin)
            origin.acknowledge(1, self._current_bytes)
        self._current_bytes = None

    def _set_end(self) -> None:
        records = [producer.record for producer in self._producers]
        problems = [problem for record in records for problem in record.problems]
        is_told = all(record.end == "end_of_stream" for record in records)
        in_order = "incomplete" if problems else "end_of_stream"
        self.end = StreamEnd(
            in_order if is_told else "disconnected",
            self._messages,
            self._bytes,
            ledger=self._ledger(),
            problems=problems,
        )

    def _ledger(self) -> dict[str, Any]:
        for producer in self._producers:
            if producer.end_document and "ledger" in producer.end_document:
                return producer.end_document["ledger"]
        return {}

    def close(self, *, acknowledge: bool = True) -> None:
        """See `interface.PullSocket`."""
        if acknowledge:
            self.acknowledge()
        self._payloads = iter(())
        self._stop_listening()
        still_open = [producer for producer in self._producers if producer.is_open]
        for producer in still_open:
            producer.leave()
        self._pool.close()
        deadline = time.monotonic() + _LEAVE_SECONDS
        with self._changed:
            while time.monotonic() < deadline and any(producer.is_open for producer in still_open):
                self._changed.wait(TICK_SECONDS / 10)
        for producer in still_open:
            producer.abort()

    def __iter__(self) -> Iterator[memoryview]:
        while (payload := self.receive()) is not None:
            yield payload

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close(acknowledge=exception[0] is None)
