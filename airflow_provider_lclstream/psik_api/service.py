"""The operations of a Psik-API, without HTTP; each one names its caller."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_lclstream.psik.job import Job, JobNotFoundError
from airflow_provider_lclstream.psik.layout import JobFolder, is_jobid
from airflow_provider_lclstream.psik.models import JobSpec, JobState
from airflow_provider_lclstream.psik.reconciler import Reconciler, Reconciliation
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.psik_api.caller import Caller
from airflow_provider_lclstream.psik_api.index import Entry, JobIndex, newest_first
from airflow_provider_lclstream.psik_api.policy import Rule, may_change, may_see, require_submit
from airflow_provider_lclstream.psik_api.settings import ServiceConfig
from lclstreamer.core.errors import LCLStreamError
from lclstreamer.core.exposition import Counts

Files = Mapping[str, str] | None


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list shows.

    Attributes:
        states: only these; all where none is named.
        backend: only those of this backend.
        name: only those of this name.
        before: only those older than this job.
    """

    states: frozenset[JobState] = frozenset()
    backend: str | None = None
    name: str | None = None
    before: str | None = None

    def keeps(self, entry: Entry) -> bool:
        """Whether a job is shown."""
        return (
            (not self.states or entry.last.state in self.states)
            and self.backend in {None, entry.backend}
            and self.name in {None, entry.name}
        )


class JobService:
    """Jobs of many people in one store, each behind the policy."""

    def __init__(self, config: ServiceConfig, store: JobStore) -> None:
        self.config, self.store = config, store
        self.index = JobIndex(store)
        self.counts = Counts()
        self._reconciler = Reconciler(patience_seconds=config.reconcile_seconds)
        self._lock, self._under_way = threading.Lock(), Counter[str]()

    def rule(self, caller: Caller) -> Rule:
        """What a caller may do."""
        return self.config.policy.rule_of(caller.names)

    def create(
        self,
        caller: Caller,
        spec: JobSpec,
        *,
        submit: bool,
        idempotency_key: str | None = None,
        files: Files = None,
    ) -> tuple[Job, bool]:
        """Make a job, and submit it; says whether it is a new one.

        A job that its backend refuses is ``failed`` with the reason; that is no error here.

        Raises:
            PermissionDeniedError: the caller may not submit it.
            BadInputError: the backend could never run it.
        """
        with contextlib.ExitStack() as place:
            try:
                job, is_new = self._make(caller, spec, idempotency_key, files, place)
            except LCLStreamError:
                self._count(spec, "refused")
                raise
            if submit:
                _submit(job)
            self.index.look_again(job)
        failed = job.state() is JobState.failed
        self._count(spec, "repeated" if not is_new else "failed" if failed else "taken")
        return job, is_new

    def _make(
        self,
        caller: Caller,
        spec: JobSpec,
        idempotency_key: str | None,
        files: Files,
        place: contextlib.ExitStack,
    ) -> tuple[Job, bool]:
        rule = self.rule(caller)
        key = None if idempotency_key is None else f"{caller.owner}\n{idempotency_key}"
        job = None if key is None else self.store.of_key(key)
        if job is None:  # a repetition, after a lost answer, is none of the bounds' business
            place.enter_context(self._allowed(caller, rule, spec))
            job = self.store.create(
                self._in_our_environment(spec), idempotency_key=key, files=files, owner=caller.owner
            )
        return job, len(job.history()) == 1

    @contextlib.contextmanager
    def _allowed(self, caller: Caller, rule: Rule, spec: JobSpec) -> Generator[None]:
        """Refuse what the caller may not submit; of many at once none slips past the bound."""
        with self._lock:
            unfinished = self.index.unfinished(caller.owner) + self._under_way[caller.owner]
            require_submit(rule, spec, unfinished)
            self._under_way[caller.owner] += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way[caller.owner] -= 1
                self._under_way += Counter()  # forgets those at zero

    def _count(self, spec: JobSpec, outcome: str) -> None:
        # Callers choose the name: only those that are configured make a series.
        backend = spec.backend if spec.backend in self.store.backends else "unknown"
        self.counts.add("lclstream_jobs_submitted_total", backend, outcome)

    def check(self, caller: Caller, spec: JobSpec) -> None:
        """Refuse a job that the caller may not submit or that its backend could never run.

        How many of their jobs have not ended is not asked: that passes.
        """
        require_submit(self.rule(caller), spec, -1)
        self.store.backend(spec.backend).check(spec)

    def see(self, caller: Caller, jobid: str) -> Job:
        """A job that the caller may know of.

        Raises:
            JobNotFoundError: there is none, or it belongs to another user; the two look the same.
        """
        job = self.store.get(jobid)
        if not may_see(self.rule(caller), caller.owner, job.about.get("owner")):
            raise _hidden(jobid)
        return job

    def change(self, caller: Caller, jobid: str) -> Job:
        """A job that the caller may start, cancel or write into."""
        job = self.see(caller, jobid)
        if not may_change(self.rule(caller), caller.owner, job.about.get("owner")):
            raise _hidden(jobid)
        return job

    def start(self, caller: Caller, jobid: str) -> Job:
        """Queue a new job's first attempt, or another one of a job that has ended."""
        job = self.change(caller, jobid)
        with self._allowed(caller, self.rule(caller), job.spec):
            _start(job)
            self.index.look_again(job)
        return job

    def cancel(self, caller: Caller, jobid: str, reason: str = "") -> Job:
        """End a job; who did it, and the reason if one is given, stand in its history."""
        job = self.change(caller, jobid)
        said = f": {' '.join(reason.split())}" if reason else ""
        job.cancel(f"canceled by {caller.names[-1]}{said}")
        return job

    def remove(self, caller: Caller, jobid: str) -> None:
        """Delete a job that has ended, with everything in its folder.

        Raises:
            TransitionRefusedError: it is queued or active.
        """
        self.store.remove(self.change(caller, jobid).jobid)

    def list(self, caller: Caller, chosen: JobFilter, *, skip: int, limit: int) -> list[Entry]:
        """The jobs that the caller may know of, the newest first."""
        rule = self.rule(caller)
        seen = (
            entry
            for entry in self._older(self.index.entries(), chosen.before)
            if may_see(rule, caller.owner, entry.owner) and chosen.keeps(entry)
        )
        return list(itertools.islice(seen, skip, skip + limit))

    def backends(self, caller: Caller) -> dict[str, dict[str, Any]]:
        """The backends that the caller may submit to, and whether their settings are sound."""
        found: dict[str, dict[str, Any]] = {}
        for name, config in self.store.backends.items():
            try:
                require_submit(self.rule(caller), JobSpec(script=":", backend=name), -1)
            except LCLStreamError:
                continue
            found[name] = {"type": config.type, "queue_name": config.queue_name, "problem": None}
            try:
                self.store.backend(name)
            except LCLStreamError as error:
                found[name]["problem"] = error.problem
        return found

    def reconcile(self) -> Reconciliation:
        """Make sure of every unfinished job."""
        return self._reconciler.round(self._job(entry) for entry in self.index.pending())

    def _job(self, entry: Entry) -> Job:
        return Job(JobFolder(self.store.prefix / entry.jobid), self.store)

    def _in_our_environment(self, spec: JobSpec) -> JobSpec:
        # The service's own environment is private; a remote caller's is not here.
        environment = {**self.config.environment, **spec.environment}
        return spec.model_copy(update={"inherit_environment": False, "environment": environment})

    @staticmethod
    def _older(entries: Iterable[Entry], before: str | None) -> Iterator[Entry]:
        if before is None or not is_jobid(before):
            return iter(entries if before is None else ())
        # By its place in time: that job itself may have been removed between two pages.
        bound = newest_first(before)
        return (entry for entry in entries if newest_first(entry.jobid) > bound)


def _submit(job: Job) -> None:
    try:
        job.submit()
    except LCLStreamError:
        if not job.state().is_final:
            raise


def _start(job: Job) -> None:
    try:
        job.start()
    except LCLStreamError:
        if not job.state().is_final or job.last().jobndx == 0:
            raise


def _hidden(jobid: str) -> JobNotFoundError:
    return JobNotFoundError(f"there is no job {jobid!r}", mend="list your jobs")
