"""The pushing socket over SP: a queue and the outlets that empty it."""

from __future__ import annotations

import threading
import time
from typing import Any

from lclstreamer.core.errors import BadInputError, IncompleteStreamError, UnavailableError
from lclstreamer.core.events import DeliveryReport
from lclstreamer.core.units import format_bytes
from lclstreamer.transport import sp
from lclstreamer.transport.interface import Payload
from lclstreamer.transport.listener import Listener
from lclstreamer.transport.outlet import Outlet, PushOptions
from lclstreamer.transport.run_queue import RunQueue
from lclstreamer.transport.runs import Run
from lclstreamer.transport.slabs import OWN_SLAB_BYTES, Slab, SlabPool
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.window import AdaptiveWindow, Everything
from lclstreamer.transport.wire import Securing, TcpWire, Wire, dial

COPY_BELOW_BYTES = 1 << 15
"""Shorter messages are always copied, side by side: one system call sends many of them."""
WINDOWS_PER_BOUND = 4
"""One consumer may hold this fraction of the memory unacknowledged."""
_ABORT_SECONDS = 2.0


class SpPushSocket:
    """See `interface.PushSocket`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        listen: bool,
        name: str,
        timeout_seconds: float,
        limit_bytes: int,
        hello: dict[str, Any] | None = None,
        securing: Securing = TcpWire,
    ) -> None:
        """Dial (trying until the time is over) or listen; see `connect.open_push`."""
        self.endpoint = endpoint
        self._pool = SlabPool(limit_bytes)
        self._queue = RunQueue(self._pool)
        self._slab: Slab | None = None
        self._filled = 0
        self._messages = 0
        self._bytes = 0
        self._max_message_bytes: int | None = None
        self._has_lost_peer = False
        self._outlets: list[Outlet] = []
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._listener: Listener | None = None
        self._report: DeliveryReport | None = None
        window_bytes = limit_bytes // WINDOWS_PER_BOUND
        self._options = PushOptions(
            name,
            (lambda: AdaptiveWindow(window_bytes)) if listen else Everything,
            hello=hello or {},
        )
        if listen:
            self._listener = Listener(endpoint, self._serve, securing=securing)
            self.endpoint = self._listener.endpoint
            self._listener.start()
        else:
            self._dial(timeout_seconds, securing)

    def _dial(self, timeout_seconds: float, securing: Securing) -> None:
        wire = dial(self.endpoint, timeout_seconds, securing)
        thread = threading.Thread(target=self._serve, args=(wire,), name="push", daemon=True)
        thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._outlets or not thread.is_alive(), timeout_seconds)
        if not self._outlets:
            raise UnavailableError(
                f"{self.endpoint} is not a pulling socket of nng's protocol",
                mend="check the address; a ZeroMQ socket is dialed by zmq+tcp://…",
            )
        self._max_message_bytes = self._outlets[0].max_message_bytes

    def _serve(self, wire: Wire) -> None:
        outlet = Outlet(wire, self._queue, self._options)
        outlet.run(self._came, self._went)
        with self._changed:
            self._changed.notify_all()

    def _came(self, outlet: Outlet) -> None:
        with self._changed:
            self._outlets.append(outlet)
            self._changed.notify_all()

    def _went(self, _outlet: Outlet) -> None:
        if self._listener is None and not self._queue.is_delivered:
            self._has_lost_peer = True
            self._pool.close()  # nobody else will come: who waits for room must hear of it

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
        if size >= COPY_BELOW_BYTES and view.readonly:
            run = self._own_run(self._pool.adopt(view, timeout_seconds), size, timeout_seconds)
        elif sp.HEADER_BYTES + size < OWN_SLAB_BYTES:
            run = self._shared_run(view, size, timeout_seconds)
        else:
            slab = self._pool.acquire(size, timeout_seconds)
            if slab is not None:
                slab.view[:size] = view
            run = self._own_run(slab, size, timeout_seconds)
        self._messages += 1
        self._bytes += size
        self._queue.put(run)

    def _own_run(self, slab: Slab | None, size: int, timeout_seconds: float) -> Run:
        if slab is None:
            raise self._no_room(timeout_seconds)
        self._pool.add_run(slab)
        self._pool.end_filling(slab)
        run = Run(slab, 0, size, 1)
        run.header = sp.frame_header(size)
        return run

    def _shared_run(self, view: memoryview, size: int, timeout_seconds: float) -> Run:
        start = self._filled
        behind = start + sp.HEADER_BYTES + size
        slab = self._slab
        if slab is None or behind > len(slab.view):
            start, behind = 0, sp.HEADER_BYTES + size
            slab = self._next_slab(behind, timeout_seconds)
        sp.write_word(slab.view, start, size)
        slab.view[start + sp.HEADER_BYTES : behind] = view
        self._filled = behind
        self._pool.add_run(slab)
        return Run(slab, start, behind, 1)

    def _next_slab(self, needed_bytes: int, timeout_seconds: float) -> Slab:
        if self._slab is not None:
            self._pool.end_filling(self._slab)
            self._slab = None
        slab = self._pool.acquire(needed_bytes, timeout_seconds)
        if slab is None:
            raise self._no_room(timeout_seconds)
        self._slab = slab
        return slab

    def _no_room(self, timeout_seconds: float) -> UnavailableError | IncompleteStreamError:
        problems = self._problems()
        if problems:
            return IncompleteStreamError(
                "; ".join(problems), mend="look at the other side's ledger and log, then run again"
            )
        return UnavailableError(
            f"{self.endpoint} took nothing for {timeout_seconds:g} s",
            mend="check that consumers are connected and taking messages",
        )

    def _problems(self) -> list[str]:
        problems = [problem for outlet in self._outlets for problem in outlet.record.problems]
        ended = [outlet.record for outlet in self._outlets if outlet.record.end is not None]
        if self._listener is None and ended and not self._queue.is_delivered:
            record = ended[0]
            taken = record.acknowledged_messages if record.confirms else record.messages
            problems.append(
                f"{self.endpoint} left after it had taken {taken} of {self._messages} messages"
            )
        return problems

    def close(self, timeout_seconds: float = 60.0) -> DeliveryReport:
        """See `interface.PushSocket`."""
        if self._report is not None:
            return self._report
        deadline = time.monotonic() + timeout_seconds
        if self._slab is not None:
            self._pool.end_filling(self._slab)
            self._slab = None
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
        if self._listener is not None and not self._queue.is_delivered:
            return False
        return all(outlet.record.end is not None for outlet in self._outlets)

    def _wait(self, condition: Any, deadline: float) -> None:
        with self._changed:
            while not condition() and time.monotonic() < deadline:
                self._changed.wait(0.02)

    def _stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._pool.close()
        for outlet in self._outlets:
            if outlet.record.end is None:
                outlet.abort()
        deadline = time.monotonic() + _ABORT_SECONDS
        self._wait(lambda: all(o.record.end is not None for o in self._outlets), deadline)

    def _make_report(self, problems: list[str]) -> DeliveryReport:
        records = [outlet.record for outlet in self._outlets]
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

    def __enter__(self) -> SpPushSocket:
        return self

    def __exit__(self, *exception: object) -> None:
        report = self.close()
        if report.problems and exception[0] is None:
            raise IncompleteStreamError(
                "; ".join(report.problems), mend="look at the other side's ledger and log"
            )
