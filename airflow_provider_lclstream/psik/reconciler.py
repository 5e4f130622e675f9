"""The reconciler: asks each backend, in bulk, about every job that has not ended."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

from airflow_provider_lclstream.psik.backends.base import Attempt, Backend
from airflow_provider_lclstream.psik.callbacks.start import ensure_courier
from airflow_provider_lclstream.psik.job import Job, JobNotFoundError
from lclstreamer.core.errors import LCLStreamError

logger = logging.getLogger(__name__)
Pending = list[tuple[Job, Attempt]]


@dataclass
class Reconciliation:
    """What one round found.

    Attributes:
        asked: how many unfinished attempts there were.
        changed: how many records were behind and have been mended.
        problems: backends that could not be asked, and why.
    """

    asked: int = 0
    changed: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: Reconciliation) -> None:
        """Take in what another one found."""
        self.asked += other.asked
        self.changed += other.changed
        self.problems += other.problems


def reconcile(jobs: Iterable[Job]) -> Reconciliation:
    """Bring the records of these jobs up to date. A backend that fails spares the others."""
    return Reconciler(patience_seconds=None).round(jobs)


class Reconciler:
    """Rounds over jobs, in which the backends are asked side by side.

    A scheduler that hangs does not delay the truth about jobs elsewhere: a round leaves it behind
    after a while, and those that follow do not ask it again before it has answered.
    """

    def __init__(self, *, patience_seconds: float | None) -> None:
        """``patience_seconds`` is how long a round waits for slow backends; None for ever."""
        self._patience_seconds = patience_seconds
        self._asking: dict[int, _Asking] = {}

    def round(self, jobs: Iterable[Job]) -> Reconciliation:
        """Bring the records of these jobs up to date."""
        result, asked = Reconciliation(), list(jobs)
        for store in {id(job.store): job.store for job in asked}.values():
            ensure_courier(store.prefix, store.backends)
        self._collect(result, deadline=0.0)  # who has answered since the last round
        groups, patience = _by_backend(asked, result), self._patience_seconds
        for key, (backend, pending) in groups.items():
            if key in self._asking:
                result.problems.append(self._asking[key].late())
            elif patience is None and len(groups) == 1:
                _settle(backend, pending, result)  # nobody to be delayed: no thread is needed
            else:
                self._asking[key] = _Asking(backend, pending)
                self._asking[key].start()
        self._collect(result, None if patience is None else time.monotonic() + patience)
        return result

    def _collect(self, result: Reconciliation, deadline: float | None) -> None:
        for key, asking in list(self._asking.items()):
            asking.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if not asking.is_alive():
                del self._asking[key]
                result.add(asking.found())


class _Asking(threading.Thread):
    """One backend is asked about its jobs."""

    def __init__(self, backend: Backend, pending: Pending) -> None:
        super().__init__(name="reconcile", daemon=True)
        self._backend, self._pending = backend, pending
        self._began = time.monotonic()
        self._found = Reconciliation()
        self._error: Exception | None = None

    def run(self) -> None:
        """Ask; what goes wrong unexpectedly is kept for `found`."""
        try:
            _settle(self._backend, self._pending, self._found)
        except Exception as error:  # the edge of a thread
            self._error = error

    def found(self) -> Reconciliation:
        """What it found, once the thread has ended."""
        if self._error is not None:
            raise self._error
        return self._found

    def late(self) -> str:
        """What to say while it has not ended."""
        name, count = self._pending[0][0].spec.backend, len(self._pending)
        seconds = time.monotonic() - self._began
        return f"backend {name!r} has been asked about {count} of its jobs for {seconds:.0f} s"


def _settle(backend: Backend, pending: Pending, result: Reconciliation) -> None:
    result.asked += len(pending)
    _catch_up(pending, result)
    try:
        seen = backend.observe([attempt for _, attempt in pending])
    except (LCLStreamError, OSError) as error:
        logger.warning("a backend cannot be asked", extra={"problem": str(error)})
        result.problems.append(str(error))
        return
    for job, attempt in pending:
        if job.jobid in seen:
            with _alone(job, result):
                result.changed += job.apply(attempt, seen[job.jobid])


@contextlib.contextmanager
def _alone(job: Job, result: Reconciliation) -> Generator[None]:
    """What is wrong with one job must not keep the others from their end."""
    try:
        yield
    except JobNotFoundError:
        return  # removed a moment ago
    except (LCLStreamError, OSError) as error:
        result.problems.append(f"job {job.jobid}: {error}")


def _catch_up(pending: Pending, result: Reconciliation) -> None:
    """Repeat what has not reached a backend: the submitter died, or the backend was away."""
    for job, attempt in pending:
        with _alone(job, result):
            job.catch_up(attempt)


def _by_backend(jobs: Iterable[Job], result: Reconciliation) -> dict[int, tuple[Backend, Pending]]:
    groups: dict[int, tuple[Backend, Pending]] = {}
    for job in jobs:
        with _alone(job, result):
            attempt = job.pending_attempt()
            if attempt is not None:
                backend = job.backend
                groups.setdefault(id(backend), (backend, []))[1].append((job, attempt))
    return groups
