"""Jobs in a folder of this machine, for an event loop."""

from __future__ import annotations

import asyncio
import time

from airflow_provider_lclstream.psik.access.folder import ASK_SECONDS, FolderAccess
from airflow_provider_lclstream.psik.facts import JobFacts

SHARE = 20
"""So many times as long as a look takes is the pause after it, at least."""


class InThread:
    """`AsyncJobAccess` to a folder: each call in one of a few threads.

    Waiting is done here and not there: a waiting thread would be missed by others. Where very many
    wait, the threads are busy and looks take long, so they become rarer.
    """

    def __init__(self, access: FolderAccess, look_seconds: float = 0.5) -> None:
        self._access, self._look_seconds = access, look_seconds
        self._ask_at: dict[str, float] = {}

    async def look(
        self, jobid: str, *, after: int = 0, wait_seconds: float = 0, file: str | None = None
    ) -> JobFacts:
        """Look again and again while waiting."""
        deadline = time.monotonic() + wait_seconds
        while True:
            began = time.monotonic()
            is_due = began >= self._ask_at.get(jobid, 0.0)
            look = self._access.look if is_due else self._access.glance
            facts = await asyncio.to_thread(look, jobid, after=after, file=file)
            now = time.monotonic()
            if is_due:
                self._ask_at[jobid] = now + ASK_SECONDS
            if facts.rows > after or facts.has_file or now >= deadline:
                return facts
            pause = max(self._look_seconds, SHARE * (now - began))
            await asyncio.sleep(min(pause, deadline - now))

    async def log_sizes(self, jobid: str) -> dict[str, int]:
        """Its logs and their lengths in bytes."""
        return await asyncio.to_thread(self._access.log_sizes, jobid)

    async def read_log(self, jobid: str, name: str, offset: int, limit_bytes: int) -> bytes:
        """A piece of a log."""
        return await asyncio.to_thread(self._access.read_log, jobid, name, offset, limit_bytes)

    async def cancel(self, jobid: str, reason: str = "canceled") -> JobFacts:
        """Ask that it ends."""
        return await asyncio.to_thread(self._access.cancel, jobid, reason)

    async def aclose(self) -> None:
        """Nothing is kept open."""
