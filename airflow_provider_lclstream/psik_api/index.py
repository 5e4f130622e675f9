"""The list of jobs, kept in memory: what does not change is read once, states when they change.

Jobs that are queued, active or young are looked at on every question. The others change only when
somebody starts them again: the service says so with `look_again`, and `sweep`, which its loop
calls, finds what was done to them from outside.
"""

from __future__ import annotations

import bisect
import os
import threading
import time
from dataclasses import dataclass

from airflow_provider_lclstream.psik.facts import JobLine, row_facts
from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.layout import JobFolder, is_jobid
from airflow_provider_lclstream.psik.notes import remark_of
from airflow_provider_lclstream.psik.state_log import StateLog
from airflow_provider_lclstream.psik.states import JobState, Transition
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import LCLStreamError

YOUNG_SECONDS = 10.0
"""How long a job that was never submitted is looked at on every question."""
SETTLED_SECONDS = 0.1
"""How old a folder's time of change must be before it proves that nothing was added since."""


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
        rendered: its line of /v4's list, as JSON.
        remark: what its backend says of it in this state.
        remark_time_ns: when that was written, in nanoseconds since 1970; 0 before.
    """

    jobid: str
    owner: str | None
    name: str
    backend: str
    last: Transition
    log_bytes: int
    rendered: str = ""
    remark: str = ""
    remark_time_ns: int = 0

    @property
    def is_pending(self) -> bool:
        """Whether it is queued or active."""
        return self.last.state in {JobState.queued, JobState.active}

    @property
    def is_quiet(self) -> bool:
        """Whether its state changes only if it is started."""
        if self.last.state is JobState.new:
            return time.time() - self.last.time > YOUNG_SECONDS
        return self.last.state.is_final

    def line(self) -> JobLine:
        """Its line in a list."""
        row = row_facts(self.last)
        return JobLine(
            jobid=self.jobid,
            name=self.name,
            state=row.state,
            jobndx=row.jobndx,
            info=row.info,
            updated=row.time,
            backend=self.backend,
            owner=self.owner,
            remark=self.remark,
        )


class JobIndex:
    """All jobs of a store, as they are at the moment of asking."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._entries: dict[str, Entry] = {}
        self._sorted: list[Entry] = []
        self._restless: set[str] = set()
        self._folder_time_ns = -1
        self._lock = threading.Lock()

    def entries(self) -> list[Entry]:
        """All jobs, the newest first."""
        with self._lock:
            self._refresh()
            for jobid in self._restless:
                self._look_at_remark(self._entries[jobid])
            return list(self._sorted)

    def pending(self) -> list[Entry]:
        """The jobs that are queued or active."""
        with self._lock:
            self._refresh()
            return [e for jobid in self._restless if (e := self._entries[jobid]).is_pending]

    def unfinished(self, owner: str) -> int:
        """How many jobs that an owner submitted here are queued or active."""
        with self._lock:
            # The folder is not read for this: owners have their jobs from this service alone.
            for jobid in list(self._restless):
                self._look(jobid)
            restless = (self._entries[jobid] for jobid in self._restless)
            return sum(entry.is_pending and entry.owner == owner for entry in restless)

    def look_again(self, job: Job) -> None:
        """A job was made or started: look at it on the next question."""
        with self._lock:
            if job.jobid in self._entries:
                self._restless.add(job.jobid)
            else:
                self._take(job)  # unless it was removed a moment ago

    def sweep(self) -> None:
        """Look at every job, also at those that should not have changed."""
        with self._lock:
            known = list(self._entries)
        for start in range(0, len(known), 200):
            # In small portions, so that nobody who asks meanwhile has to wait for all of it.
            with self._lock:
                for jobid in known[start : start + 200]:
                    if jobid in self._entries:
                        self._look(jobid)

    def _refresh(self) -> None:
        folder_time_ns = self._store.prefix.stat().st_mtime_ns
        if folder_time_ns != self._folder_time_ns:
            self._scan()
            # Clocks of file systems tick coarsely: what was changed just now may change again
            # within the same tick.
            is_settled = time.time_ns() - folder_time_ns > SETTLED_SECONDS * 1e9
            self._folder_time_ns = folder_time_ns if is_settled else -1
        for jobid in list(self._restless):
            self._look(jobid)

    def _scan(self) -> None:
        self._store.require_prefix()  # an empty mount point is no empty list of jobs
        names = set(os.listdir(self._store.prefix))  # noqa: PTH208  (names are quickest)
        for gone in self._entries.keys() - names:
            self._forget(gone)
        for name in names - self._entries.keys():
            if is_jobid(name):
                self._take(Job(JobFolder(self._store.prefix / name), self._store))

    def _take(self, job: Job) -> None:
        entry = _read(job)
        if entry is not None:
            self._entries[job.jobid] = entry
            self._restless.add(job.jobid)
            bisect.insort(self._sorted, entry, key=_by_time)

    def _look(self, jobid: str) -> None:
        entry = self._entries[jobid]
        log = StateLog(JobFolder(self._store.prefix / jobid).status)
        try:
            # A state log only grows, so its length tells whether it changed.
            size = log.path.stat().st_size
            last = log.last() if size != entry.log_bytes else entry.last
        except OSError:
            last, size = None, 0
        if last is None:
            self._forget(jobid)
            self._folder_time_ns = -1  # where the folder was only away, it is found again
            return
        if last is not entry.last:
            entry.last, entry.log_bytes = last, size
            entry.remark, entry.remark_time_ns = "", 0
            entry.rendered = entry.line().model_dump_json()
        if entry.is_quiet:
            self._restless.discard(jobid)
        else:
            self._restless.add(jobid)

    def _look_at_remark(self, entry: Entry) -> None:
        folder = JobFolder(self._store.prefix / entry.jobid)
        try:
            time_ns = folder.remark(entry.last.jobndx).stat().st_mtime_ns
        except OSError:
            return
        if time_ns != entry.remark_time_ns:
            entry.remark, entry.remark_time_ns = remark_of(folder, entry.last), time_ns
            entry.rendered = entry.line().model_dump_json()

    def _forget(self, jobid: str) -> None:
        entry = self._entries.pop(jobid)
        self._restless.discard(jobid)
        del self._sorted[bisect.bisect_left(self._sorted, _by_time(entry), key=_by_time)]


def newest_first(jobid: str) -> tuple[int, int]:
    """A key that sorts job ids by time, the newest first."""
    # Ids are times: whole seconds, and a fraction of up to nine digits.
    whole, _, fraction = jobid.partition(".")
    return -int(whole), -int(fraction.ljust(18, "0"))


def _by_time(entry: Entry) -> tuple[int, int]:
    return newest_first(entry.jobid)


def _read(job: Job) -> Entry | None:
    try:
        size = (job.folder / "status.csv").stat().st_size
        spec, last, owner = job.spec, job.last(), job.about.get("owner")
        entry = Entry(job.jobid, owner, spec.name or "", spec.backend, last, size)
    except (OSError, ValueError, LCLStreamError):
        return None  # removed a moment ago, or no job of ours
    entry.rendered = entry.line().model_dump_json()
    return entry
