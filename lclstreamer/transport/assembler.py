"""Puts the bytes of one connection together to runs of whole frames, without input or output.

Small messages land side by side in a slab, and one read may bring hundreds of them: `advance` cuts
behind the last whole frame and leaves the rest where it is. A long message gets a slab of its own:
its header is read alone, into a scratch pad, so that nothing has to be moved. Long messages of one
length may share slabs into which a number of them fits.
"""

from __future__ import annotations

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.units import format_bytes
from lclstreamer.transport import sp
from lclstreamer.transport.runs import Run, lone_run
from lclstreamer.transport.slabs import OWN_SLAB_BYTES, Slab, SlabPool

_NOTHING = memoryview(b"")
_EQUAL_FRAMES = 2  # so many of one length let expect more of it
_LAST_PART = 8  # a slab of which less than this fraction is left is not read into any more

Item = Run | bytes | BadInputError
"""What `Assembler.advance` finds: a run, a control frame's payload, or why nothing can follow."""


class Assembler:
    """The bytes of one connection that are not yet a run.

    Use: read into ``room()``, tell ``advance()`` how much came, repeat; ``drop()`` at the end.

    Attributes:
        fill: whether the room of the last `room` should be filled before it is looked at.
    """

    def __init__(
        self, pool: SlabPool, max_message_bytes: int, *, peer: str, origin: object = None
    ) -> None:
        self.fill = True
        self._pool = pool
        self._limit = max_message_bytes
        self._peer = peer
        self._origin = origin
        self._slab: Slab | None = None  # None while a header is awaited on the scratch pad
        self._scratch = bytearray(sp.HEADER_BYTES)
        self._start = 0  # where the frame begins that is not complete
        self._stop = 0  # behind the last byte received
        self._expected = 0  # the size of that frame with its header; 0 where it is not known
        self._previous = 0  # the size of the frame that was expected last
        self._equal = 0  # how many had the same size one after the other

    @property
    def pending_bytes(self) -> int:
        """How much of an incomplete frame is here."""
        return self._stop - self._start

    def room(self, timeout_seconds: float) -> memoryview | None:
        """Where to read next; None if there is no memory within the time."""
        slab = self._slab
        if slab is None and not self._expected:
            self.fill = True
            return memoryview(self._scratch)[self._stop :]
        needed = self._expected or sp.HEADER_BYTES
        if slab is None or self._start + needed > slab.capacity:
            slab = self._pool.acquire(
                needed, timeout_seconds, expects_more=self._equal >= _EQUAL_FRAMES
            )
            if slab is None:
                return None
            self._move_to(slab)
        # To read past a frame in a slab of its own would hold that slab while asking for another.
        self.fill = not slab.is_landing or self._expected >= OWN_SLAB_BYTES
        end = self._start + self._expected if self.fill else slab.capacity
        return slab.view[self._stop : end]

    def _expect(self, frame_bytes: int) -> None:
        self._equal = self._equal + 1 if frame_bytes == self._previous else 0
        self._expected = self._previous = frame_bytes

    def _move_to(self, slab: Slab) -> None:
        pending = self.pending_bytes
        if self._slab is None:
            slab.view[:pending] = self._scratch[:pending]
        else:
            slab.view[:pending] = self._slab.view[self._start : self._stop]
            self._pool.end_filling(self._slab)
        self._slab, self._start, self._stop = slab, 0, pending

    def advance(self, count: int) -> list[Item]:
        """Take note that ``count`` bytes were read into the room, and return what is complete.

        The runs hold their slabs already.
        """
        self._stop += count
        slab = self._slab
        if slab is None:
            return self._advance_scratch()
        if not slab.is_landing:
            return self._advance_alone(slab)
        items: list[Item] = []
        self._expected = 0
        while True:
            start = self._start
            self._start, frames, word = sp.cut(slab.view, start, self._stop, self._limit)
            if frames:
                self._pool.add_run(slab)
                items.append(Run(slab, start, self._start, frames, self._origin))
            if word == sp.NO_WORD or not self._take_word(word, items):
                break
            if self._stop - self._start < self._expected:
                break
            behind = self._start + self._expected  # a whole control frame
            items.append(bytes(slab.view[self._start + sp.HEADER_BYTES : behind]))
            self._start, self._expected = behind, 0
        self._leave_if_used_up(slab)
        return items

    def _advance_alone(self, slab: Slab) -> list[Item]:
        """The same in a slab that holds one message, to whose exact end is read."""
        if self._stop < self._expected:
            return []
        slab.runs, slab.is_filling = 1, False  # nobody else knows this slab yet
        run = Run(slab, 0, self._stop, 1, self._origin)
        self._to_scratch()
        return [run]

    def _take_word(self, word: int, items: list[Item]) -> bool:
        """Note the size of the frame that begins; False if it is not a control frame."""
        is_control = bool(word & sp.CONTROL_BIT)
        length = word & ~sp.CONTROL_BIT
        limit = sp.CONTROL_LIMIT_BYTES if is_control else self._limit
        if length > limit:
            items.append(self._too_long(length, limit))
            return False
        self._expect(sp.HEADER_BYTES + length)
        return is_control

    def _too_long(self, length: int, limit: int) -> BadInputError:
        return BadInputError(
            f"{self._peer} sent a message of {format_bytes(length)}, "
            f"more than the {format_bytes(limit)} that are accepted",
            mend="send smaller messages (a smaller batch_size) or raise max_message_bytes",
        )

    def _advance_scratch(self) -> list[Item]:
        if self._stop < len(self._scratch):
            return []
        word: int = sp.read_word(self._scratch)[0]
        if 0 < word <= self._limit:
            self._expect(sp.HEADER_BYTES + word)
            return []
        items: list[Item] = []
        is_control = self._take_word(word, items)
        if is_control and self._expected > self._stop:
            self._scratch = self._scratch + bytes(self._expected - self._stop)
            self._expected = 0
        elif is_control:
            items.append(bytes(self._scratch[sp.HEADER_BYTES :]))
            self._to_scratch()
        elif word == 0:
            items.append(lone_run(Slab(_NOTHING, 0, is_landing=False), 0, self._origin))
            self._to_scratch()
        return items

    def _leave_if_used_up(self, slab: Slab) -> None:
        left = slab.capacity - self._stop
        if self._start == self._stop and left * _LAST_PART < slab.capacity:
            self._to_scratch()
            self._pool.end_filling(slab)

    def _to_scratch(self) -> None:
        self._slab = None
        if len(self._scratch) > sp.HEADER_BYTES:
            self._scratch = bytearray(sp.HEADER_BYTES)
        self._start = self._stop = self._expected = 0

    def relax(self) -> None:
        """Give the slab back if nothing is pending in it, because nothing comes at present."""
        if self._slab is not None and self._start == self._stop:
            slab = self._slab
            self._to_scratch()
            self._pool.end_filling(slab)

    def drop(self) -> int:
        """Give everything back; the number of bytes of an incomplete frame that are lost."""
        pending = self.pending_bytes
        slab = self._slab
        self._to_scratch()
        if slab is not None:
            self._pool.end_filling(slab)
        return pending
