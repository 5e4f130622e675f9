"""How often, and how soon again, a service is asked. Pure but for the clock."""

from __future__ import annotations

import time

from airflow_provider_lclstream.psik.facts import JobFacts

PAUSES_SECONDS = (0.2, 1.0)
"""Before a question that may be repeated is repeated, after an error that may pass."""
SHORTEST_ROUND_SECONDS = 0.5
"""A service that waits less than it was asked to is not asked more often than this."""


class Rounds:
    """A long wait, asked for in rounds that a service grants."""

    def __init__(self, after: int, wait_seconds: float) -> None:
        self._after = after
        self._began = time.monotonic()
        self._deadline = self._began + wait_seconds

    def begin(self) -> float:
        """How many seconds are left to wait."""
        self._began = time.monotonic()
        return self._deadline - self._began

    def pause_after(self, facts: JobFacts) -> float | None:
        """How long to pause before the next round; None where this was the last."""
        now = time.monotonic()
        left = self._deadline - now
        if facts.rows > self._after or facts.has_file or left <= 0:
            return None
        return min(left, max(0.0, SHORTEST_ROUND_SECONDS - (now - self._began)))
