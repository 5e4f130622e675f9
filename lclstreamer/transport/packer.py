"""Puts short messages side by side into shared slabs, so that one system call sends many."""

from __future__ import annotations

from lclstreamer.transport import sp
from lclstreamer.transport.runs import Run
from lclstreamer.transport.slabs import Slab, SlabPool


class Packer:
    """Use: `add` messages, `take` the run of all that were added since the last time."""

    def __init__(self, pool: SlabPool, origin: object = None) -> None:
        self._pool = pool
        self._origin = origin
        self._slab: Slab | None = None
        self._begun = 0
        self._filled = 0
        self._messages = 0

    def fits(self, payload_bytes: int) -> bool:
        """Whether a message fits into the present slab, behind what is there."""
        behind = self._filled + sp.HEADER_BYTES + payload_bytes
        return self._slab is not None and behind <= len(self._slab.view)

    def add(self, payload: memoryview, timeout_seconds: float) -> bool:
        """Copy a message; False if there is no memory within the time.

        Where it does not fit any more, what was added before must have been taken.
        """
        size = len(payload)
        if not self.fits(size):
            self.release()
            self._slab = self._pool.acquire(sp.HEADER_BYTES + size, timeout_seconds)
        slab = self._slab
        if slab is None:
            return False
        sp.write_word(slab.view, self._filled, size)
        begin = self._filled + sp.HEADER_BYTES
        slab.view[begin : begin + size] = payload
        self._filled = begin + size
        self._messages += 1
        return True

    def take(self) -> Run | None:
        """The messages that were added, which hold their slab; None if there are none."""
        slab = self._slab
        if slab is None or not self._messages:
            return None
        self._pool.add_run(slab)
        run = Run(slab, self._begun, self._filled, self._messages, self._origin)
        self._begun, self._messages = self._filled, 0
        if not slab.is_landing:
            self.release()  # to hold it while waiting for another could be for ever
        return run

    def release(self) -> None:
        """Give the slab up; its runs keep it until they are delivered."""
        if self._slab is not None:
            self._pool.end_filling(self._slab)
        self._slab = None
        self._begun = self._filled = self._messages = 0
