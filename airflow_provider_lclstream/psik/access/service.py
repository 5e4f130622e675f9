"""Jobs on a Psik-API service; `service_async` is for event loops."""

# ruff: noqa: TID253  (a leaf: only those who talk to a service import it)
from __future__ import annotations

import contextlib
import itertools
import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

import httpx2

from airflow_provider_lclstream.psik.access import questions
from airflow_provider_lclstream.psik.access.places import ServicePlace, service_place
from airflow_provider_lclstream.psik.access.question import TIMEOUT_SECONDS, Answer, Question
from airflow_provider_lclstream.psik.access.refusals import unreachable
from airflow_provider_lclstream.psik.access.rounds import PAUSES_SECONDS, Rounds
from airflow_provider_lclstream.psik.facts import BackendFacts, FileFacts, JobFacts, JobLine
from airflow_provider_lclstream.psik.job import JobNotFoundError
from airflow_provider_lclstream.psik.models import JobSpec
from airflow_provider_lclstream.psik.states import JobState, TransitionRefusedError
from lclstreamer.core.errors import LCLStreamError, UnavailableError

PIECE_BYTES = 2**18


class ServiceAccess:
    """`JobAccess` to a service, with a client whose base URL is the service's.

    The client is closed by `close`, or at the end of a ``with`` block.
    """

    def __init__(self, client: httpx2.Client, where: str | None = None) -> None:
        self._client = client
        self._where = where or str(client.base_url).rstrip("/")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def where(self) -> str:
        """The service, as it was named."""
        return self._where

    def ask(self, question: Question[Answer]) -> Answer:
        """Send a request; a few times, where repeating is harmless and may help.

        After silence it is not asked again: the asker has waited long enough.
        """
        pauses = iter(PAUSES_SECONDS if question.is_repeatable else ())
        while True:
            try:
                return self._ask_once(question)
            except UnavailableError:
                if (pause := next(pauses, None)) is None:
                    raise
            time.sleep(pause)

    def create(
        self,
        spec: JobSpec,
        *,
        idempotency_key: str | None = None,
        files: Mapping[str, str] | None = None,
        submit: bool = True,
    ) -> JobFacts:
        """Make a job there, send files, and submit it.

        One that its backend refused is there too, ``failed`` with the reason.
        """
        encoded = {name: text.encode() for name, text in (files or {}).items()}
        return self.create_with(spec, idempotency_key, [encoded] if encoded else [], submit=submit)

    def create_with(
        self,
        spec: JobSpec,
        key: str | None,
        uploads: Iterable[Mapping[str, bytes | IO[bytes]]],
        *,
        submit: bool = True,
    ) -> JobFacts:
        """Make a job there, send portions of files, and submit it; the key says which job it is.

        If that fails for good, or without a key to continue with, the job is removed again.
        """
        portions = iter(uploads)
        first, made_key = next(portions, None), key or uuid.uuid4().hex
        facts = self.ask(questions.create(spec, made_key, submit=submit and first is None))
        if first is None or facts.state is not JobState.new:
            return facts
        try:
            for portion in itertools.chain([first], portions):
                self.ask(questions.upload(facts.jobid, portion))
            return self.start(facts.jobid) if submit else facts
        except TransitionRefusedError:
            return self.look(facts.jobid)  # started meanwhile by another one with this key
        except LCLStreamError as error:
            if key is None or not error.transient:
                self._discard(facts.jobid)
            raise

    def _discard(self, jobid: str) -> None:
        """Remove a job whose submission failed, as far as the service can be reached."""
        with contextlib.suppress(LCLStreamError):
            self.cancel(jobid, "its submission failed")
            self.remove(jobid)

    def check(self, spec: JobSpec) -> None:
        """Ask whether it would be taken."""
        self.ask(questions.check(spec))

    def look(
        self, jobid: str, *, after: int = 0, wait_seconds: float = 0, file: str | None = None
    ) -> JobFacts:
        """Look, or wait for news there."""
        rounds = Rounds(after, wait_seconds)
        while True:
            facts = self.ask(questions.look(jobid, after, rounds.begin(), file))
            if (pause := rounds.pause_after(facts)) is None:
                return facts
            time.sleep(pause)

    def look_all(self, jobids: Iterable[str]) -> list[JobFacts]:
        """Look at each of these; the service asks its backends by itself."""
        return [self.look(jobid) for jobid in jobids]

    def spec(self, jobid: str) -> JobSpec:
        """What it runs."""
        return self.ask(questions.spec_of(jobid))

    def lines(self, states: Iterable[JobState] = (), limit: int = 50) -> list[JobLine]:
        """The newest jobs."""
        return list(itertools.islice(self.each_line(states, limit), limit))

    def each_line(
        self, states: Iterable[JobState] = (), at_once: int = questions.PAGE_LINES
    ) -> Iterator[JobLine]:
        """The jobs, newest first; further pages are fetched on demand."""
        wanted, before = frozenset(states), None
        while True:
            page = self.ask(questions.page(wanted, min(at_once, questions.PAGE_LINES), before))
            yield from page.jobs
            before = page.next
            if before is None:
                return

    def start(self, jobid: str) -> JobFacts:
        """Queue an attempt."""
        return self.ask(questions.start(jobid))

    def cancel(self, jobid: str, reason: str = "canceled") -> JobFacts:
        """Ask that it ends."""
        return self.ask(questions.cancel(jobid, reason))

    def remove(self, jobid: str) -> None:
        """Delete it there."""
        self.ask(questions.remove(jobid))

    def log_sizes(self, jobid: str) -> dict[str, int]:
        """Its logs and their lengths."""
        return self.ask(questions.log_sizes(jobid))

    def read_log(self, jobid: str, name: str, offset: int, limit_bytes: int) -> bytes:
        """A piece of a log."""
        return self.ask(questions.read_log(jobid, name, offset, limit_bytes))

    def files(self, jobid: str) -> list[FileFacts]:
        """The files in its work folder."""
        return self.ask(questions.files(jobid))

    def read_file(self, jobid: str, path: str) -> Iterator[bytes]:
        """A file of its work folder, in pieces as they come."""
        with self.stream(questions.file_content(jobid, path)) as reply:
            if "accept-ranges" not in reply.headers:
                raise JobNotFoundError(
                    f"job {jobid} has no file {path!r}: that is a folder",
                    where=self.where,
                    mend=f"`lclstream psik files {jobid}` lists them",
                )
            yield from reply.iter_bytes(PIECE_BYTES)

    def results(self, jobid: str) -> Iterator[bytes]:
        """The work folder and the logs, as the pieces of a tar."""
        with self.stream(questions.results(jobid)) as reply:
            yield from reply.iter_bytes(PIECE_BYTES)

    def write_file(self, jobid: str, path: str, content: bytes) -> None:
        """Put a file into its work folder."""
        self.ask(questions.upload(jobid, {path: content}))

    def backends(self) -> list[BackendFacts]:
        """The backends that may be submitted to."""
        return self.ask(questions.backends())

    def _ask_once(self, question: Question[Answer]) -> Answer:
        try:
            reply = self._client.request(question.method, question.path, **question.content())
        except httpx2.HTTPError as error:
            raise unreachable(error, self.where) from error
        return question.answer(reply, self.where)

    @contextlib.contextmanager
    def stream(self, question: Question[Any]) -> Generator[httpx2.Response]:
        """Ask once, and give the reply while it is still arriving."""
        content = question.content()
        try:
            with self._client.stream(question.method, question.path, **content) as reply:
                if not reply.is_success:
                    reply.read()
                    raise question.refuse(reply, self.where)
                yield reply
        except httpx2.HTTPError as error:
            raise unreachable(error, self.where) from error


def open_service(url: str, identity: Path | str | None = None) -> ServiceAccess:
    """Jobs on the service at this URL or alias.

    Args:
        url: ``https://host:port``, ``https://ALIAS`` or an alias that the identity knows; plain
            ``http://`` on this machine only.
        identity: the identity folder; by default this environment's.
    """
    return open_place(service_place(url, identity))


def open_place(place: ServicePlace) -> ServiceAccess:
    """Jobs on a service whose place is known."""
    client = httpx2.Client(
        base_url=place.url, verify=place.verify, timeout=TIMEOUT_SECONDS, trust_env=False
    )
    return ServiceAccess(client, place.name)
