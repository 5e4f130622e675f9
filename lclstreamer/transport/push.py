"""The pushing socket: a bounded queue that connections empty, whatever their protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, Self

from lclstreamer.core.errors import BadInputError, IncompleteStreamError, UnavailableError
from lclstreamer.core.events import DeliveryReport
from lclstreamer.core.units import format_bytes
from lclstreamer.transport import sp
from lclstreamer.transport.interface import Payload
from lclstreamer.transport.packer import Packer
from lclstreamer.transport.records import PeerRecord
from lclstreamer.transport.run_queue import RunQueue
from lclstreamer.transport.runs import Run, lone_run
from lclstreamer.transport.slabs import OWN_SLAB_BYTES, SlabPool
from lclstreamer.transport.url import Endpoint

COPY_BELOW_BYTES = 1 << 15
"""Shorter messages are always copied, side by side: one system call sends many of them."""
LOST_PEER_MEND = (
    "see the other side's ledger and log, start it if need be, and run again from the beginning: "
    "one that was killed left no ledger, and what it had not passed on is lost with it"
)
_ABORT_SECONDS = 2.0


class Consumer(Protocol):
    """What a pushing socket needs to know of the connection to a consumer."""

    record: PeerRecord

    def abort(self) -> None:
        """Stop at once."""
        ...


class QueuedPushSocket:
    """A bounded queue of messages, emptied by connections; see `interface.PushSocket`.

    One that dials does not dial again when its peer has gone: a buffer that is started again does
    not know what the former one had taken and not passed on, and to go on would hide that.

    How connections come about is the business of subclasses: their threads call `came` and `went`.
    """

    def __init__(self, endpoint: Endpoint, *, listen: bool, limit_bytes: int) -> None:
        self.endpoint = endpoint
        self._is_listening = listen
        self._pool = SlabPool(limit_bytes)
        self._queue = RunQueue(self._pool)
        self._packer = Packer(self._pool)
        self._messages = 0
        self._bytes = 0
        self._max_message_bytes: int | None = None
        self._has_lost_peer = False
        self._missing: list[str] = []
        self._consumers: list[Consumer] = []
        self._changed = threading.Condition()
        self._report: DeliveryReport | None = None

    def _await_first(self, thread: threading.Thread, timeout_seconds: float) -> None:
        """Wait until the connection that this thread serves has proved to be a consumer's."""
        deadline = time.monotonic() + timeout_seconds
        self._wait(lambda: bool(self._consumers) or not thread.is_alive(), deadline)
        if not self._consumers:
            raise UnavailableError(
                f"no pulling socket answers at {self.endpoint}",
                mend="check the address and its protocol (tcp:// for nng's, zmq+tcp:// for ZeroMQ)",
            )

    def _stop_listening(self) -> None:
        """Accept no more consumers."""

    def came(self, consumer: Consumer) -> None:
        """A consumer has proved to be one; called by its thread."""
        with self._changed:
            self._consumers.append(consumer)
            self._changed.notify_all()

    def went(self, _consumer: Consumer) -> None:
        """A consumer has ended; called by its thread."""
        if not self._is_listening and not self._queue.is_delivered:
            self._has_lost_peer = True
            self._pool.close()  # nobody else will come: who waits for room must hear of it
        with self._changed:
            self._changed.notify_all()

    def send(self, payload: Payload, *, timeout_seconds: float = 600.0) -> None:
        """See `interface.PushSocket`."""
        view = memoryview(payload).cast("B")
        size = len(view)
        limit = self._max_message_bytes
        if limit is not None and size > limit:
            raise BadInputError(
                f"a message of {format_bytes(size)} is longer than the {format_bytes(limit)} "
                f"that {self.endpoint} takes",
                mend="send smaller messages (a smaller batch_size) or raise max_message_bytes",
            )
        if self._has_lost_peer:
            raise self._no_room(timeout_seconds)
        run = self._run_of(view, size, timeout_seconds)
        if run is None:
            raise self._no_room(timeout_seconds)
        self._messages += 1
        self._bytes += size
        self._queue.put(run)

    def _run_of(self, view: memoryview, size: int, timeout_seconds: float) -> Run | None:
        is_promised = view.readonly and size >= COPY_BELOW_BYTES
        if not is_promised and sp.HEADER_BYTES + size < OWN_SLAB_BYTES:
            return self._packer.take() if self._packer.add(view, timeout_seconds) else None
        if is_promised:
            slab = self._pool.adopt(view, timeout_seconds)
        elif (slab := self._pool.acquire(size, timeout_seconds)) is not None:
            slab.view[:size] = view
        return None if slab is None else lone_run(slab, size)

    def _no_room(self, timeout_seconds: float) -> UnavailableError | IncompleteStreamError:
        problems = self._problems()
        if problems:
            return IncompleteStreamError("; ".join(problems), mend=LOST_PEER_MEND)
        return UnavailableError(
            f"{self.endpoint} took nothing for {timeout_seconds:g} s",
            mend="check that consumers are connected and taking messages",
        )

    def _problems(self) -> list[str]:
        problems = [problem for consumer in self._consumers for problem in consumer.record.problems]
        ended = [consumer.record for consumer in self._consumers if consumer.record.end is not None]
        if not self._is_listening and ended and not self._queue.is_delivered:
            record = ended[0]
            taken = record.acknowledged_messages if record.confirms else record.messages
            problems.append(
                f"{self.endpoint} left after it had taken {taken} of {self._messages} messages; "
                f"the other {self._messages - taken} are not delivered"
            )
        return problems

    def close(
        self, timeout_seconds: float = 60.0, *, missing: Sequence[str] = ()
    ) -> DeliveryReport:
        """See `interface.PushSocket`."""
        if self._report is not None:
            return self._report
        self._missing = list(missing)
        deadline = time.monotonic() + timeout_seconds
        self._packer.release()
        self._queue.close()
        self._wait(lambda: self._queue.is_delivered or self._is_deserted(), deadline)
        self._wait(self._is_deserted, deadline)
        problems = self._problems()
        if not self._queue.is_delivered and not problems:
            left = self._queue.queued_messages + self._queue.held_messages
            problems.append(
                f"{left} of {self._messages} messages were not taken within {timeout_seconds:g} s"
            )
        self._stop()
        self._report = self._make_report(problems)
        return self._report

    def _is_deserted(self) -> bool:
        """Whether no consumer is left (a listening socket waits for another while it has work)."""
        if self._is_listening and not self._queue.is_delivered:
            return False
        return all(consumer.record.end is not None for consumer in self._consumers)

    def _wait(self, condition: Callable[[], bool], deadline: float) -> None:
        with self._changed:
            while not condition() and time.monotonic() < deadline:
                self._changed.wait(0.02)

    def _stop(self) -> None:
        self._stop_listening()
        self._pool.close()
        for consumer in self._consumers:
            if consumer.record.end is None:
                consumer.abort()
        deadline = time.monotonic() + _ABORT_SECONDS
        self._wait(lambda: all(c.record.end is not None for c in self._consumers), deadline)

    def _make_report(self, problems: list[str]) -> DeliveryReport:
        records = [consumer.record for consumer in self._consumers]
        confirmed = None
        if records and all(record.confirms for record in records):
            confirmed = sum(record.acknowledged_messages for record in records)
            if confirmed != self._messages and not problems:
                problems.append(f"{confirmed} of {self._messages} messages were confirmed")
        return DeliveryReport(
            handler=f"push to {self.endpoint}",
            messages=self._messages,
            bytes=self._bytes,
            confirmed_messages=confirmed,
            problems=problems,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        error = exception[1]
        missing = [] if error is None else [f"{type(error).__name__}: {error}"]
        report = self.close(missing=missing)
        if report.problems and exception[0] is None:
            raise IncompleteStreamError("; ".join(report.problems), mend=LOST_PEER_MEND)
