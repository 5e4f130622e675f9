"""Waiting for jobs, wherever they are; a service that is away for a while is waited for too."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from lclstreamer.core.errors import LCLStreamError, TemporaryError
from lclstreamer.core.output import note

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.access.base import JobAccess
    from airflow_provider_lclstream.psik.facts import JobFacts

Answer = TypeVar("Answer")
ROUND_SECONDS = 60.0
RETRY_SECONDS = 2.0
AWAY_SECONDS = 600.0
"""How long a service may be away while its jobs are waited for."""


class Patience:
    """Waits for news of jobs, no longer than a time in all.

    Args:
        access: where the jobs are.
        timeout_seconds: the longest wait.
    """

    def __init__(self, access: JobAccess, timeout_seconds: float) -> None:
        self._access, self._timeout_seconds = access, timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds

    @property
    def is_over(self) -> bool:
        """Whether there is no time left."""
        return time.monotonic() >= self._deadline

    def news(self, facts: JobFacts) -> JobFacts:
        """The job once its history is longer.

        Raises:
            TemporaryError: the time is over.
        """
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TemporaryError(
                    f"job {facts.jobid} did not end within {self._timeout_seconds:g} s",
                    mend="look at its log, wait longer, or cancel it",
                )
            seen = self.look(facts.jobid, facts.rows, min(left, ROUND_SECONDS))
            if seen.rows > facts.rows:
                return seen

    def look(self, jobid: str, after: int, wait_seconds: float) -> JobFacts:
        """As `JobAccess.look`, with patience."""
        return self.bear(lambda: self._access.look(jobid, after=after, wait_seconds=wait_seconds))

    def bear(self, ask: Callable[[], Answer]) -> Answer:
        """Ask; an error that may pass is borne for a while."""
        began, is_told = time.monotonic(), False
        while True:
            try:
                return ask()
            except LCLStreamError as error:
                now = time.monotonic()
                if not error.transient or now > min(began + AWAY_SECONDS, self._deadline):
                    raise
                if not is_told:
                    note(f"warning: {error.problem}; asking again")
                is_told = True
            time.sleep(RETRY_SECONDS)

    def end(self, facts: JobFacts) -> JobFacts:
        """The job once it has ended."""
        while not facts.state.is_final:
            facts = self.news(facts)
        return self.look(facts.jobid, 0, 0)


def exit_code(facts: JobFacts) -> int:
    """What a command ends with that waited for a job: the script's code, where it has one."""
    if facts.state in {"completed", "new"}:
        return 0
    code = (facts.result or {}).get("exit_code")
    return code if isinstance(code, int) and 0 < code < 256 else 1
