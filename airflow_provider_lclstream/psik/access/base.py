"""What can be done with jobs, wherever they are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from airflow_provider_lclstream.psik.facts import BackendFacts, FileFacts, JobFacts, JobLine
from airflow_provider_lclstream.psik.models import JobSpec
from airflow_provider_lclstream.psik.states import JobState


class JobAccess(Protocol):
    """The verbs on jobs. Every one may raise an `LCLStreamError`.

    A job that is unknown, or that the asker may not see, is a `JobNotFoundError`; a service that
    does not answer is an error with ``transient`` set.
    """

    @property
    def where(self) -> str:
        """The folder or the URL, for messages."""
        ...

    def create(
        self,
        spec: JobSpec,
        *,
        idempotency_key: str | None = None,
        files: Mapping[str, str] | None = None,
        submit: bool = True,
    ) -> JobFacts:
        """Make a job, put files into its work folder, and submit it.

        The same key gives the same job; one that was made but not submitted is submitted.
        """
        ...

    def check(self, spec: JobSpec) -> None:
        """Refuse a job that could never run here, without making it."""
        ...

    def look(
        self, jobid: str, *, after: int = 0, wait_seconds: float = 0, file: str | None = None
    ) -> JobFacts:
        """The true, current state of a job.

        Args:
            jobid: the job.
            after: how many rows of its history the asker knows.
            wait_seconds: how long to wait for more rows; 0 does not wait.
            file: a path below its work folder; its appearance ends the wait too.
        """
        ...

    def look_all(self, jobids: Iterable[str]) -> list[JobFacts]:
        """As `look` at each of these, without waiting; each backend is asked once for all."""
        ...

    def spec(self, jobid: str) -> JobSpec:
        """Its specification, without secrets."""
        ...

    def lines(self, states: Iterable[JobState] = (), limit: int = 50) -> list[JobLine]:
        """The newest jobs in one of these states, in any where none is named."""
        ...

    def start(self, jobid: str) -> JobFacts:
        """Queue a new job's first attempt, or another one of a job that has ended."""
        ...

    def cancel(self, jobid: str, reason: str = "canceled") -> JobFacts:
        """End it; it is ``canceled`` once none of it runs. One that has ended is left unchanged."""
        ...

    def remove(self, jobid: str) -> None:
        """Delete a job that has ended, with everything in its folder."""
        ...

    def log_sizes(self, jobid: str) -> dict[str, int]:
        """Its logs and their lengths in bytes."""
        ...

    def read_log(self, jobid: str, name: str, offset: int, limit_bytes: int) -> bytes:
        """Up to ``limit_bytes`` of a log from an offset; a negative one counts from the end."""
        ...

    def files(self, jobid: str) -> list[FileFacts]:
        """The files in its work folder, at any depth; symbolic links are left out."""
        ...

    def read_file(self, jobid: str, path: str) -> Iterator[bytes]:
        """A file of its work folder, in pieces."""
        ...

    def write_file(self, jobid: str, path: str, content: bytes) -> None:
        """Put a file into its work folder, whole, whatever state it is in."""
        ...

    def backends(self) -> list[BackendFacts]:
        """The backends that may be submitted to."""
        ...


class AsyncJobAccess(Protocol):
    """What a trigger needs, without ever blocking the event loop."""

    async def look(
        self, jobid: str, *, after: int = 0, wait_seconds: float = 0, file: str | None = None
    ) -> JobFacts:
        """As `JobAccess.look`."""
        ...

    async def log_sizes(self, jobid: str) -> dict[str, int]:
        """As `JobAccess.log_sizes`."""
        ...

    async def read_log(self, jobid: str, name: str, offset: int, limit_bytes: int) -> bytes:
        """As `JobAccess.read_log`."""
        ...

    async def cancel(self, jobid: str, reason: str = "canceled") -> JobFacts:
        """As `JobAccess.cancel`."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
