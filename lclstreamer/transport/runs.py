"""A run: consecutive whole frames in a slab, the unit that is queued and sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lclstreamer.transport import sp

if TYPE_CHECKING:
    from lclstreamer.transport.slabs import Slab


class Run:
    """Consecutive whole frames of one producer.

    Attributes:
        slab: the memory.
        start, stop: the offsets of the frames in it; of the bare payload where `header` is set.
        messages: how many frames.
        size_bytes: their length on the wire, headers included.
        origin: where it came from, for acknowledgements to its producer.
        header: the frame header of a single message that lies without one in adopted memory.
        is_redelivery: whether another consumer had it before.
        acknowledged: how many of its messages its present consumer has acknowledged.
        taken_at: when its present consumer got it, on the monotonic clock in seconds.
    """

    __slots__ = (
        "acknowledged",
        "header",
        "is_redelivery",
        "messages",
        "origin",
        "size_bytes",
        "slab",
        "start",
        "stop",
        "taken_at",
    )

    def __init__(
        self, slab: Slab, start: int, stop: int, messages: int, origin: object = None
    ) -> None:
        self.slab = slab
        self.start = start
        self.stop = stop
        self.messages = messages
        self.size_bytes = stop - start
        self.origin = origin
        self.header: bytes | None = None
        self.is_redelivery = False
        self.acknowledged = 0
        self.taken_at = 0.0

    @property
    def payload_bytes(self) -> int:
        """The length of its messages, without headers."""
        return self.size_bytes - sp.HEADER_BYTES * self.messages

    def buffers(self) -> list[bytes | memoryview]:
        """What has to be sent, in order."""
        body = self.slab.view[self.start : self.stop]
        return [self.header, body] if self.header else [body]

    def payloads(self) -> Iterable[memoryview]:
        """The messages, one by one."""
        view = self.slab.view
        if self.header:
            yield view[self.start : self.stop]
            return
        position = self.start
        while position < self.stop:
            begin = position + sp.HEADER_BYTES
            position = begin + sp.read_word(view, position)[0]
            yield view[begin:position]

    def part_within(self, limit_bytes: int) -> tuple[int, int]:
        """Which of its first messages lie wholly in its first ``limit_bytes`` on the wire.

        Returns:
            Their number, and their payload in bytes.
        """
        if limit_bytes >= self.size_bytes:
            return self.messages, self.payload_bytes
        if self.header:
            return 0, 0
        messages, end = sp.frames_within(self.slab.view, self.start, self.stop, limit_bytes)
        return messages, end - self.start - sp.HEADER_BYTES * messages

    def split(self, messages: int) -> Run:
        """Cut off the first messages as a run of their own, which uses the same slab."""
        middle = sp.offset_behind(self.slab.view, self.start, messages)
        first = Run(self.slab, self.start, middle, messages, self.origin)
        first.is_redelivery = self.is_redelivery
        self.start = middle
        self.messages -= messages
        self.size_bytes -= first.size_bytes
        return first

    def join(self, following: Run) -> None:
        """Take in a run that lies right behind this one."""
        self.stop = following.stop
        self.messages += following.messages
        self.size_bytes += following.size_bytes


def lone_run(slab: Slab, payload_bytes: int, origin: object = None) -> Run:
    """A run of one message that lies, without its header, at the beginning of a slab.

    The slab must not be a landing slab, and its filling ends with this.
    """
    slab.runs, slab.is_filling = 1, False  # nobody else knows this slab yet
    run = Run(slab, 0, payload_bytes, 1, origin)
    run.header = sp.frame_header(payload_bytes)
    run.size_bytes += sp.HEADER_BYTES
    return run
