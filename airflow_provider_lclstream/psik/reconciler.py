"""The reconciler: asks each backend, in bulk, about every job that has not ended."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

from airflow_provider_lclstream.psik.backends.base import Attempt, Backend
from airflow_provider_lclstream.psik.callbacks.start import ensure_courier
from airflow_provider_lclstream.psik.job import Job, JobNotFoundError
from lclstreamer.core.errors import LCLStreamError

logger = logging.getLogger(__name__)


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


def reconcile(jobs: Iterable[Job]) -> Reconciliation:
    """Bring the records of these jobs up to date. A backend that fails spares the others."""
    result, asked = Reconciliation(), list(jobs)
    for store in {id(job.store): job.store for job in asked}.values():
        ensure_courier(store.prefix, store.backends)
    for backend, pending in _by_backend(asked, result).values():
        _catch_up(pending, result)
        result.asked += len(pending)
        try:
            seen = backend.observe([attempt for _, attempt in pending])
        except (LCLStreamError, OSError) as error:
            logger.warning("a backend cannot be asked", extra={"problem": str(error)})
            result.problems.append(str(error))
            continue
        for job, attempt in pending:
            if job.jobid in seen:
                with _alone(job, result):
                    result.changed += job.apply(attempt, seen[job.jobid])
    return result


@contextlib.contextmanager
def _alone(job: Job, result: Reconciliation) -> Generator[None]:
    """What is wrong with one job must not keep the others from their end."""
    try:
        yield
    except JobNotFoundError:
        return  # removed a moment ago
    except (LCLStreamError, OSError) as error:
        result.problems.append(f"job {job.jobid}: {error}")


def _catch_up(pending: list[tuple[Job, Attempt]], result: Reconciliation) -> None:
    """Repeat what has not reached a backend: the submitter died, or the backend was away."""
    for job, attempt in pending:
        with _alone(job, result):
            job.catch_up(attempt)


def _by_backend(
    jobs: Iterable[Job], result: Reconciliation
) -> dict[int, tuple[Backend, list[tuple[Job, Attempt]]]]:
    groups: dict[int, tuple[Backend, list[tuple[Job, Attempt]]]] = {}
    for job in jobs:
        with _alone(job, result):
            attempt = job.pending_attempt()
            if attempt is not None:
                backend = job.backend
                groups.setdefault(id(backend), (backend, []))[1].append((job, attempt))
    return groups
