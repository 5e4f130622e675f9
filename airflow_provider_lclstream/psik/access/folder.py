"""Jobs in a folder of this machine."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from airflow_provider_lclstream.psik.facts import (
    BackendFacts,
    FileFacts,
    JobFacts,
    JobLine,
    facts_of,
    line_of,
    printable,
)
from airflow_provider_lclstream.psik.job import Job, JobNotFoundError
from airflow_provider_lclstream.psik.layout import write_atomically
from airflow_provider_lclstream.psik.models import JobSpec
from airflow_provider_lclstream.psik.reconciler import reconcile
from airflow_provider_lclstream.psik.states import JobState
from airflow_provider_lclstream.psik.store import JobStore, safe_path
from lclstreamer.core.errors import LCLStreamError, OutputError

LOOK_SECONDS = 0.1
ASK_SECONDS = 2.0
"""Between two questions to the backend of a job that is waited for; its folder is looked at more
often, and has most news first."""
PIECE_BYTES = 2**18


class FolderAccess:
    """`JobAccess` to a `JobStore`.

    Args:
        store: the folder of jobs.
        look_seconds: the time between two looks at a job that is waited for.
        asks: whether backends are asked when a job is looked at; otherwise its record counts.
        tell: called once for each reason why a backend could not be asked.
    """

    def __init__(
        self,
        store: JobStore,
        *,
        look_seconds: float = LOOK_SECONDS,
        asks: bool = True,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.store = store
        self._look_seconds, self._asks = look_seconds, asks
        self._tell, self._told = tell, set[str]()

    @property
    def where(self) -> str:
        """The folder."""
        return str(self.store.prefix)

    def create(
        self,
        spec: JobSpec,
        *,
        idempotency_key: str | None = None,
        files: Mapping[str, str] | None = None,
        submit: bool = True,
    ) -> JobFacts:
        """Make a job folder, and submit it."""
        job = self.store.create(spec, idempotency_key=idempotency_key, files=files)
        if submit:
            job.submit()
        return facts_of(job)

    def check(self, spec: JobSpec) -> None:
        """Ask the backend whether it could run this."""
        self.store.backend(spec.backend).check(spec)

    def look(
        self, jobid: str, *, after: int = 0, wait_seconds: float = 0, file: str | None = None
    ) -> JobFacts:
        """Ask the backend, and read the folder; again and again while waiting."""
        job, deadline = self.store.get(jobid), time.monotonic() + wait_seconds
        ask_at = 0.0
        while True:
            if time.monotonic() >= ask_at:
                self._make_sure([job])
                ask_at = time.monotonic() + ASK_SECONDS
            facts = facts_of(job, after, file)
            if facts.rows > after or facts.has_file or time.monotonic() >= deadline:
                return facts
            time.sleep(self._look_seconds)

    def look_all(self, jobids: Iterable[str]) -> list[JobFacts]:
        """Ask each backend about all of its jobs at once, and read the folders."""
        jobs = [self.store.get(jobid) for jobid in jobids]
        self._make_sure(jobs)
        return [facts_of(job) for job in jobs]

    def glance(self, jobid: str, *, after: int = 0, file: str | None = None) -> JobFacts:
        """Read the folder only; no backend is asked."""
        return facts_of(self.store.get(jobid), after, file)

    def spec(self, jobid: str) -> JobSpec:
        """What it runs, without its secret."""
        return self.store.get(jobid).spec

    def lines(self, states: Iterable[JobState] = (), limit: int = 50) -> list[JobLine]:
        """The newest jobs, after asking the backends about those that have not ended."""
        wanted, jobs = frozenset(states), self.store.jobs()
        self._make_sure(jobs if wanted else jobs[:limit])
        found: list[JobLine] = []
        for job in jobs:
            if len(found) >= limit:
                break
            try:
                if not wanted or job.state() in wanted:
                    found.append(line_of(job))
            except JobNotFoundError:
                continue  # removed a moment ago
            except (LCLStreamError, OSError) as error:
                self._say(f"job {job.jobid} is left out: {error}")
        return found

    def start(self, jobid: str) -> JobFacts:
        """Queue another attempt."""
        job = self.store.get(jobid)
        job.reconcile()
        job.start()
        return facts_of(job)

    def cancel(self, jobid: str, reason: str = "canceled") -> JobFacts:
        """Ask that it ends."""
        job = self.store.get(jobid)
        job.cancel(reason)
        return facts_of(job)

    def remove(self, jobid: str) -> None:
        """Delete its folder."""
        self.store.remove(jobid)

    def log_sizes(self, jobid: str) -> dict[str, int]:
        """Its logs and their lengths in bytes."""
        return self.store.get(jobid).log_sizes()

    def read_log(self, jobid: str, name: str, offset: int, limit_bytes: int) -> bytes:
        """A piece of a log."""
        return self.store.get(jobid).read_log(name, offset, limit_bytes)

    def files(self, jobid: str) -> list[FileFacts]:
        """The files below its work folder; what symbolic links point to is not the job's."""
        job = self.store.get(jobid)
        return sorted(_files_below(job.work), key=lambda facts: facts.path)

    def read_file(self, jobid: str, path: str) -> Iterator[bytes]:
        """A file of its work folder, in pieces."""
        with _file_of(self.store.get(jobid), path).open("rb") as stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece

    def write_file(self, jobid: str, path: str, content: bytes) -> None:
        """Put a file into its work folder."""
        target = self.store.get(jobid).work / safe_path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, content, sync=False)
        except OSError as error:
            raise OutputError(
                f"the file cannot be written: {error.strerror}",
                where=str(target),
                mend="free disk space, or fix the permissions of the work folder",
            ) from error

    def backends(self) -> list[BackendFacts]:
        """The configured backends, and whether their settings are sound."""
        return [self._backend(name) for name in sorted(self.store.backends)]

    def _make_sure(self, jobs: list[Job]) -> None:
        if not self._asks:
            return
        for problem in reconcile(jobs).problems:
            self._say(problem)

    def _say(self, problem: str) -> None:
        if self._tell is not None and problem not in self._told:
            self._tell(problem)
        self._told.add(problem)

    def _backend(self, name: str) -> BackendFacts:
        config, problem = self.store.backends[name], None
        try:
            self.store.backend(name)
        except LCLStreamError as error:
            problem = error.problem
        return BackendFacts(
            name=name, type=config.type, queue_name=config.queue_name, problem=problem
        )


def _files_below(root: Path) -> Iterator[FileFacts]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            try:
                facts = path.lstat()
            except FileNotFoundError:
                continue  # the job has removed it just now
            if stat.S_ISREG(facts.st_mode):
                where = printable(path.relative_to(root).as_posix())
                yield FileFacts(path=where, size=facts.st_size, mtime=facts.st_mtime)


def _file_of(job: Job, name: str) -> Path:
    root = job.work.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise JobNotFoundError(
            f"job {job.jobid} has no file {name!r}",
            mend=f"`lclstream psik files {job.jobid}` lists them",
        )
    return path
