"""A log line every few seconds while a rank streams."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Protocol

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0


class Counted(Protocol):
    """Something that can say how far it is."""

    def counts(self) -> dict[str, int]:
        """Events, messages, bytes and so on, so far."""
        ...


class ProgressLog:
    """Logs the counts of a rank at an interval, from a thread of its own, while it is entered."""

    def __init__(self, counted: Counted, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._counted, self._interval_seconds = counted, interval_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)

    def __enter__(self) -> ProgressLog:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(self._interval_seconds)

    def _work(self) -> None:
        before, then = self._counted.counts(), time.monotonic()
        while not self._ended.wait(self._interval_seconds):
            now, counts = time.monotonic(), self._counted.counts()
            rate = (counts["events"] - before["events"]) / (now - then)
            logger.info("streaming", extra={**counts, "events_per_second": round(rate, 1)})
            before, then = counts, now
