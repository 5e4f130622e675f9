"""Memory for messages: slabs from one pool, bounded in bytes, warm from use to use.

A slab is a stretch of memory that one reader fills. The runs of frames cut from it use it until
they are delivered; then it returns to the pool. The pool's bound is what turns a slow consumer
into back-pressure: a reader that gets no slab stops reading, and TCP tells its producer.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
import threading
import time
from collections import deque

LANDING_BYTES = 1 << 20
"""Slabs that several messages share have at most this size, where nothing else is said."""
SMALLEST_LANDING_BYTES = 1 << 14
OWN_SLAB_BYTES = 1 << 17
"""A message of at least this size, with its header, gets a slab of its own."""
_GRAIN_BYTES = 4096
_STEPS_PER_OCTAVE = 16  # sizes of slabs for one message: at most 1/16 is wasted
_LENT_SLABS = 2
_HUGE_PAGES_FROM_BYTES = 4 << 20
_NOTHING = memoryview(b"")


def _allocate(size: int) -> mmap.mmap:
    """Fresh memory; unlike a bytearray's, nobody fills it with zeros before it is filled."""
    data = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE_PAGES_FROM_BYTES:
        with contextlib.suppress(OSError):  # a kernel without them
            data.madvise(mmap.MADV_HUGEPAGE)
    return data


def _own_references() -> int:
    data = _allocate(mmap.PAGESIZE)
    return sys.getrefcount(data)


_OWN_REFERENCES = _own_references()  # to memory that nobody uses but the function that counts


class Slab:
    """A stretch of memory.

    Attributes:
        view: its bytes.
        capacity: what it counts for in the pool, in bytes.
        is_landing: whether a reader keeps it between messages (then it is no sign of work).
        is_filling: whether a reader still holds it; changed by the pool alone, like `runs`.
        runs: how many runs still need it.
    """

    __slots__ = ("capacity", "data", "is_filling", "is_landing", "runs", "view")

    def __init__(self, data: mmap.mmap | memoryview, capacity: int, *, is_landing: bool) -> None:
        self.data = data
        self.view = memoryview(data)
        self.capacity = capacity
        self.is_landing = is_landing
        self.is_filling = True
        self.runs = 0


def slab_size_for(needed_bytes: int) -> int:
    """The size of the slab that serves a single message, so that similar messages share slabs."""
    step = max(_GRAIN_BYTES, (1 << needed_bytes.bit_length()) // (2 * _STEPS_PER_OCTAVE))
    return -(-needed_bytes // step) * step


class SlabPool:
    """Hands out slabs, never more than ``limit_bytes`` of them at a time.

    One message longer than the bound is let in alone: when everything else has been delivered.

    Attributes:
        limit_bytes: the bound.
        slab_bytes: how large a slab that several messages share may be.
        peak_bytes: the most that was in use at a time.
        waited_seconds: how long readers have waited for memory, all together (back-pressure).
    """

    def __init__(self, limit_bytes: int, *, slab_bytes: int = LANDING_BYTES) -> None:
        """A pool with this bound.

        Larger slabs cost less work per message, but who keeps one message keeps its whole slab.
        """
        self.limit_bytes = limit_bytes
        self.slab_bytes = slab_bytes
        self.peak_bytes = 0
        self.waited_seconds = 0.0
        self._in_use = 0
        self._idle_landing = 0  # bytes of landing slabs in which no run is left
        self._readers = 1
        self._is_closed = False
        self._free: dict[int, list[mmap.mmap]] = {}
        self._free_bytes = 0
        self._lent: deque[mmap.mmap] = deque(maxlen=_LENT_SLABS)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._line: deque[object] = deque()  # who waits for memory, in order of arrival

    @property
    def in_use_bytes(self) -> int:
        """Bytes of slabs that are handed out at this moment."""
        return self._in_use

    def add_readers(self, count: int) -> None:
        """Tell how many readers share the pool: the more, the smaller each one's landing slab."""
        with self._lock:
            self._readers += count

    @property
    def landing_bytes(self) -> int:
        """The size of a landing slab: all readers' together stay below a quarter of the bound."""
        share = self._reader_share()
        if share >= self.slab_bytes:
            return self.slab_bytes
        return max(SMALLEST_LANDING_BYTES, 1 << max(0, share.bit_length() - 1))

    def _reader_share(self) -> int:
        return self.limit_bytes // (4 * max(1, self._readers))

    def close(self) -> None:
        """Give nothing more; who waits gets None."""
        with self._lock:
            self._is_closed = True
            self._changed.notify_all()

    def acquire(
        self, needed_bytes: int, timeout_seconds: float, *, expects_more: bool = False
    ) -> Slab | None:
        """A slab of at least this size, being filled; None if there is no room within the time.

        With ``expects_more`` it is, within `slab_bytes`, for several messages of this size.
        """
        size, is_landing = self._size_for(needed_bytes, expects_more=expects_more)
        with self._lock:
            if not self._enter(size, timeout_seconds, is_landing=is_landing):
                return None
            kept = self._free.get(size)
            if kept:
                self._free_bytes -= size
                data = kept.pop()  # the last one used is the warmest
            else:
                self._make_room()
                data = None
        return Slab(data or _allocate(size), size, is_landing=is_landing)

    def _size_for(self, needed_bytes: int, *, expects_more: bool) -> tuple[int, bool]:
        """The size of a slab, and whether its reader keeps it between messages."""
        if needed_bytes < OWN_SLAB_BYTES and needed_bytes <= self.landing_bytes:
            return self.landing_bytes, True
        messages = min(self.slab_bytes, self._reader_share()) // needed_bytes
        if expects_more and messages > 1:
            return slab_size_for(messages * needed_bytes), True
        return slab_size_for(needed_bytes), False

    def adopt(self, payload: memoryview, timeout_seconds: float) -> Slab | None:
        """Count memory that somebody else owns as a slab; None if there is no room in time."""
        with self._lock:
            if not self._enter(len(payload), timeout_seconds, is_landing=False):
                return None
            self._make_room()
        return Slab(payload, len(payload), is_landing=False)

    def add_run(self, slab: Slab) -> None:
        """Keep a slab for one more run."""
        with self._lock:
            if slab.runs == 0 and slab.is_landing and slab.is_filling:
                self._idle_landing -= slab.capacity
            slab.runs += 1

    def end_run(self, slab: Slab) -> None:
        """A run in this slab is delivered; behind the last one the slab returns to the pool."""
        with self._lock:
            slab.runs -= 1
            if slab.runs:
                return
            if not slab.is_filling:
                self._take_back(slab)
            elif slab.is_landing:
                self._idle_landing += slab.capacity
            if self._line:
                self._changed.notify_all()

    def end_filling(self, slab: Slab) -> None:
        """The reader has turned to another slab; this one returns once its runs are delivered."""
        with self._lock:
            slab.is_filling = False
            if slab.runs:
                return
            if slab.is_landing:
                self._idle_landing -= slab.capacity
            self._take_back(slab)
            if self._line:
                self._changed.notify_all()

    def _enter(self, size: int, timeout_seconds: float, *, is_landing: bool) -> bool:
        if (self._line or not self._has_room(size)) and not self._wait(size, timeout_seconds):
            return False
        self._in_use += size
        self.peak_bytes = max(self.peak_bytes, self._in_use)
        if is_landing:
            self._idle_landing += size
        return not self._is_closed

    def _has_room(self, size: int) -> bool:
        # Where only idle landing slabs are in use, waiting longer would not help.
        return self._in_use + size <= self.limit_bytes or self._in_use == self._idle_landing

    def _wait(self, size: int, timeout_seconds: float) -> bool:
        ticket = object()
        self._line.append(ticket)
        begun = time.monotonic()
        deadline = begun + timeout_seconds
        try:
            while self._line[0] is not ticket or not self._has_room(size):
                left = deadline - time.monotonic()
                if left <= 0 or self._is_closed:
                    return False
                self._changed.wait(left)
            return True
        finally:
            self._line.remove(ticket)
            self.waited_seconds += time.monotonic() - begun
            self._changed.notify_all()

    def _make_room(self) -> None:
        """Drop unused slabs of other sizes until what is in use fits beside the rest."""
        for size, kept in self._free.items():
            while kept and self._in_use + self._free_bytes > self.limit_bytes:
                kept.pop()
                self._free_bytes -= size

    def _take_back(self, slab: Slab) -> None:
        self._in_use -= slab.capacity
        data, slab.data = slab.data, _NOTHING
        slab.view.release()
        if not isinstance(data, mmap.mmap):
            return
        # Who still refers to a piece of a message keeps its memory: it must never be overwritten.
        # The last one is often let go only when the next message comes: it is looked at again.
        if sys.getrefcount(data) > _OWN_REFERENCES:
            self._lent.append(data)
        else:
            self._keep(data)
        for _ in range(len(self._lent)):
            data = self._lent.popleft()
            if sys.getrefcount(data) > _OWN_REFERENCES:
                self._lent.append(data)
            else:
                self._keep(data)

    def _keep(self, data: mmap.mmap) -> None:
        size = len(data)
        if self._in_use + self._free_bytes + size <= self.limit_bytes:
            self._free.setdefault(size, []).append(data)
            self._free_bytes += size
