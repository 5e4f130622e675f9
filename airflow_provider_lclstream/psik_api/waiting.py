"""Long-poll: one loop looks at the state logs that somebody waits for, and wakes who waits."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

LOOK_SECONDS = 0.025
SECONDS_PER_LOG = 20e-6
"""What looking at one log costs, about: with very many the looks become rarer."""


class StateWatch:
    """Wakes coroutines when a state log grows. Used inside one event loop."""

    def __init__(self) -> None:
        self._waiting: defaultdict[Path, list[tuple[int, asyncio.Event]]] = defaultdict(list)
        self._loop: asyncio.Task[None] | None = None

    async def wait(self, log: Path, known_bytes: int, timeout_seconds: float) -> None:
        """Return when the log is longer than known, is gone, or the time is over."""
        if timeout_seconds <= 0 or _size(log) != known_bytes:
            return
        event = asyncio.Event()
        waiter = (known_bytes, event)
        self._waiting[log].append(waiter)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._look())
        try:
            await asyncio.wait_for(event.wait(), timeout_seconds)
        except TimeoutError:
            return
        finally:
            self._waiting[log].remove(waiter)
            if not self._waiting[log]:
                del self._waiting[log]

    async def _look(self) -> None:
        while self._waiting:
            for log, waiters in list(self._waiting.items()):
                size = _size(log)
                for known, event in waiters:
                    if size != known:
                        event.set()
            await asyncio.sleep(max(LOOK_SECONDS, SECONDS_PER_LOG * 10 * len(self._waiting)))


def log_size(log: Path) -> int:
    """How long a log is, in bytes; -1 where there is none."""
    return _size(log)


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return -1
