"""A queue between two threads, bounded in bytes."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

OVERHEAD_BYTES = 1024
"""Counted for each item beside its size, so that tiny items are bounded too."""

RECHECK_SECONDS = 1.0


class ByteQueue(Generic[Item]):
    """Hands items from one thread to another in their order.

    An item larger than the limit passes when the queue is empty: the limit bounds what waits.

    Args:
        limit_bytes: how much may wait.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._items: deque[tuple[Item, int]] = deque()
        self._waiting_bytes = 0
        self._is_finished = self._is_abandoned = False
        self._changed = threading.Condition()

    def put(self, item: Item, size_bytes: int) -> bool:
        """Add an item, waiting for room; False if the other side takes nothing any more."""
        size_bytes += OVERHEAD_BYTES
        with self._changed:
            while self._items and self._waiting_bytes + size_bytes > self._limit_bytes:
                if self._is_abandoned:
                    break
                self._changed.wait(RECHECK_SECONDS)
            if self._is_abandoned:
                return False
            self._items.append((item, size_bytes))
            self._waiting_bytes += size_bytes
            self._changed.notify_all()
            return True

    def get(self) -> Item | None:
        """Take the next item, waiting for it; None when there are no more."""
        with self._changed:
            while not self._items and not self._is_finished and not self._is_abandoned:
                self._changed.wait(RECHECK_SECONDS)
            if not self._items:
                return None
            item, size_bytes = self._items.popleft()
            self._waiting_bytes -= size_bytes
            self._changed.notify_all()
            return item

    def finish(self) -> None:
        """The giving side says that nothing more comes."""
        with self._changed:
            self._is_finished = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """The taking side says that it takes nothing more; what waits is dropped."""
        with self._changed:
            self._is_abandoned = True
            self._items.clear()
            self._waiting_bytes = 0
            self._changed.notify_all()
