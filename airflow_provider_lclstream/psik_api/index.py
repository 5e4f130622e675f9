"""The list of jobs, kept in memory: what does not change is read once, states when they change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.state_log import StateLog
from airflow_provider_lclstream.psik.states import JobState, Transition
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import LCLStreamError


@dataclass(slots=True)
class Entry:
    """One job in the list.

    Attributes:
        jobid: the job.
        owner: whose it is; None where it was made on the service's machine.
        name: its name, or "".
        backend: where it runs.
        last: the newest row of its history.
        log_bytes: how long its state log was when that row was read.
    """

    jobid: str
    owner: str | None
    name: str
    backend: str
    last: Transition
    log_bytes: int


class JobIndex:
    """All jobs of a store, as they are at the moment of asking."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._entries: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def entries(self) -> list[Entry]:
        """All jobs, the newest first."""
        with self._lock:
            fresh: dict[str, Entry] = {}
            for job in self._store.jobs():
                entry = self._entry(job)
                if entry is not None:
                    fresh[job.jobid] = entry
            self._entries = fresh
            return list(fresh.values())

    def unfinished(self, owner: str) -> int:
        """How many jobs of an owner are queued or active."""
        return sum(entry.owner == owner for entry in self.pending())

    def pending(self) -> Iterator[Entry]:
        """The jobs that are queued or active."""
        pending = {JobState.queued, JobState.active}
        return (entry for entry in self.entries() if entry.last.state in pending)

    def _entry(self, job: Job) -> Entry | None:
        known = self._entries.get(job.jobid)
        try:
            # A state log only grows, so its length tells whether it changed.
            size = (job.folder / "status.csv").stat().st_size
            if known is not None and known.log_bytes == size:
                return known
            last = StateLog(job.folder / "status.csv").last()
            if last is None:
                return None
            if known is not None:
                known.last, known.log_bytes = last, size
                return known
            spec = job.spec
            owner = job.about.get("owner")
            return Entry(job.jobid, owner, spec.name or "", spec.backend, last, size)
        except (OSError, ValueError, LCLStreamError):
            return None  # removed a moment ago, or no job of ours
