"""Jobs on a Psik-API service, for an event loop."""

# ruff: noqa: TID253  (a leaf: only those who talk to a service import it)
from __future__ import annotations

import asyncio

import httpx2

from airflow_provider_lclstream.psik.access import questions
from airflow_provider_lclstream.psik.access.places import ServicePlace
from airflow_provider_lclstream.psik.access.question import TIMEOUT_SECONDS, Answer, Question
from airflow_provider_lclstream.psik.access.refusals import unreachable
from airflow_provider_lclstream.psik.access.rounds import PAUSES_SECONDS, Rounds
from airflow_provider_lclstream.psik.facts import JobFacts
from lclstreamer.core.errors import UnavailableError


class AsyncServiceAccess:
    """`AsyncJobAccess` to a service: never blocks the event loop."""

    def __init__(self, client: httpx2.AsyncClient, where: str | None = None) -> None:
        self._client = client
        self._where = where or str(client.base_url).rstrip("/")

    async def ask(self, question: Question[Answer]) -> Answer:
        """As `ServiceAccess.ask`."""
        pauses = iter(PAUSES_SECONDS if question.is_repeatable else ())
        while True:
            try:
                return await self._ask_once(question)
            except UnavailableError:
                if (pause := next(pauses, None)) is None:
                    raise
            await asyncio.sleep(pause)

    async def look(
        self, jobid: str, *, after: int = 0, wait_seconds: float = 0, file: str | None = None
    ) -> JobFacts:
        """Look, or wait for news there."""
        rounds = Rounds(after, wait_seconds)
        while True:
            facts = await self.ask(questions.look(jobid, after, rounds.begin(), file))
            if (pause := rounds.pause_after(facts)) is None:
                return facts
            await asyncio.sleep(pause)

    async def log_sizes(self, jobid: str) -> dict[str, int]:
        """Its logs and their lengths."""
        return await self.ask(questions.log_sizes(jobid))

    async def read_log(self, jobid: str, name: str, offset: int, limit_bytes: int) -> bytes:
        """A piece of a log."""
        return await self.ask(questions.read_log(jobid, name, offset, limit_bytes))

    async def cancel(self, jobid: str, reason: str = "canceled") -> JobFacts:
        """Ask that it ends."""
        return await self.ask(questions.cancel(jobid, reason))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask_once(self, question: Question[Answer]) -> Answer:
        try:
            reply = await self._client.request(question.method, question.path, **question.content())
        except httpx2.HTTPError as error:
            raise unreachable(error, self._where) from error
        return question.answer(reply, self._where)


def open_place_async(place: ServicePlace) -> AsyncServiceAccess:
    """As `service.open_place`."""
    client = httpx2.AsyncClient(
        base_url=place.url, verify=place.verify, timeout=TIMEOUT_SECONDS, trust_env=False
    )
    return AsyncServiceAccess(client, place.name)
