"""Long-poll: one loop watches the state logs that are waited for, and wakes the waiters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

LOOK_SECONDS = 0.025
SECONDS_PER_LOOK = 20e-6
"""What looking at one log or for one file costs, about: with very many looks become rarer."""


@dataclass(eq=False)
class _Waiter:
    """One waiting request.

    Attributes:
        log: the state log.
        known_bytes: how long it was.
        is_there: whether the file has appeared that is waited for too; None where none is.
        event: set once there is news.
    """

    log: Path
    known_bytes: int
    is_there: Callable[[], bool] | None
    event: asyncio.Event = field(default_factory=asyncio.Event)

    def has_news(self) -> bool:
        """Whether to wake it."""
        if log_size(self.log) != self.known_bytes:
            return True
        return self.is_there is not None and self.is_there()


class StateWatch:
    """Wakes coroutines when a state log grows or a file appears. Used inside one event loop."""

    def __init__(self) -> None:
        self._waiting: set[_Waiter] = set()
        self._loop: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many wait at this moment."""
        return len(self._waiting)

    async def wait(
        self,
        log: Path,
        known_bytes: int,
        timeout_seconds: float,
        is_there: Callable[[], bool] | None = None,
    ) -> None:
        """Return when the log is longer than known, or gone; the file is there; the time is over.

        Args:
            log: a state log.
            known_bytes: how long it was when it was read.
            timeout_seconds: the longest wait.
            is_there: tells, quickly, whether a file that is waited for too has appeared.
        """
        waiter = _Waiter(log, known_bytes, is_there)
        self._waiting.add(waiter)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._look())
        try:
            await asyncio.wait_for(waiter.event.wait(), timeout_seconds)
        except TimeoutError:
            return
        finally:
            self._waiting.discard(waiter)

    async def _look(self) -> None:
        while self._waiting:
            # In a thread: the folder may lie on a file system that is slow to answer.
            for waiter in await asyncio.to_thread(_with_news, list(self._waiting)):
                waiter.event.set()
            await asyncio.sleep(max(LOOK_SECONDS, SECONDS_PER_LOOK * 10 * len(self._waiting)))


def _with_news(waiting: Iterable[_Waiter]) -> list[_Waiter]:
    return [waiter for waiter in waiting if waiter.has_news()]


def log_size(log: Path) -> int:
    """How long a log is, in bytes; -1 where there is none."""
    try:
        return log.stat().st_size
    except OSError:
        return -1
