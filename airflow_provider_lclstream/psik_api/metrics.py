"""What a job service counts, and what it says of itself to Prometheus."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow_provider_lclstream.psik.callbacks.outbox import backlog
from airflow_provider_lclstream.psik.reconciler import Reconciliation
from airflow_provider_lclstream.psik.states import JobState
from airflow_provider_lclstream.psik_api.service import JobService
from airflow_provider_lclstream.psik_api.waiting import StateWatch
from lclstreamer.core.exposition import Samples
from lclstreamer.core.metrics import METRICS

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
DIALECTS = frozenset({"v2", "v3", "v4"})
NAMES = [m.name for m in METRICS if m.name.startswith(("lclstream_jobs_", "lclstream_callbacks_"))]
_REQUESTS = "lclstream_jobs_answered_requests_total"


class LastRound:
    """How the reconciler's last round went."""

    def __init__(self) -> None:
        self._ended = time.monotonic()
        self._seconds, self._problems = 0.0, 0

    def note(self, began: float, found: Reconciliation | None) -> None:
        """A round has ended that began at a monotonic time; None where it failed as a whole."""
        self._ended = time.monotonic()
        self._seconds = self._ended - began
        self._problems = 1 if found is None else len(found.problems)

    def samples(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Its metrics, for a scrape."""
        return {
            "lclstream_jobs_reconcile_seconds": {(): self._seconds},
            "lclstream_jobs_reconcile_age_seconds": {(): time.monotonic() - self._ended},
            "lclstream_jobs_reconcile_problems": {(): self._problems},
        }


def samples_of(service: JobService, last_round: LastRound, watch: StateWatch) -> Samples:
    """Every metric of a service, as it is now."""
    states = Counter(str(entry.last.state) for entry in service.index.entries())
    waiting, oldest_seconds = backlog(service.store.prefix)
    return {
        **{name: dict[tuple[str, ...], float]() for name in NAMES},
        "lclstream_jobs_known_jobs": {(state.value,): states[state.value] for state in JobState},
        **last_round.samples(),
        "lclstream_jobs_waiting_requests": {(): watch.waiting},
        "lclstream_callbacks_waiting_callbacks": {(): waiting},
        "lclstream_callbacks_oldest_seconds": {(): oldest_seconds},
        **service.counts.samples(),
    }


class RequestCounter:
    """Counts requests by dialect and by the first digit of their status."""

    def __init__(self, app: Any, *, service: JobService) -> None:
        self._app, self._counts = app, service.counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, looking at its status."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        first = scope["path"].split("/", 2)[1:2]
        dialect = first[0] if first and first[0] in DIALECTS else "none"

        async def counting(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._counts.add(_REQUESTS, dialect, f"{message['status'] // 100}xx")
            await send(message)

        await self._app(scope, receive, counting)
