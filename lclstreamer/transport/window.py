"""How much a consumer may hold at a time, so that a slow one does not hoard the others' work."""

from __future__ import annotations

from typing import Protocol

from lclstreamer.transport.runs import Run

QUICK_SECONDS = 0.25
"""A run that is acknowledged faster than this lets its consumer hold more."""
SLOW_SECONDS = 1.0
"""A run that takes longer than this lets its consumer hold less."""
_FEW = 64


class Window(Protocol):
    """The rule for one seat at the queue; used under the queue's lock.

    Attributes:
        retains: whether runs are kept until they are acknowledged.
    """

    retains: bool

    def messages_of(self, run: Run, held_bytes: int, share_messages: int) -> int:
        """How many of the run's first messages may be taken now; 0 to wait.

        Args:
            run: the first in the queue.
            held_bytes: what the seat holds already.
            share_messages: what is queued, divided by the number of seats.
        """
        ...

    def on_end(self, run: Run, now: float) -> None:
        """Learn from how long a run took, ``now`` being the monotonic clock in seconds."""
        ...


class FairShare:
    """For consumers that cannot acknowledge: each gets its share of what is queued."""

    retains = False

    def __init__(self, limit_bytes: int = 1) -> None:
        self._limit_bytes = limit_bytes

    def messages_of(self, run: Run, held_bytes: int, share_messages: int) -> int:
        """The whole run, or so much that the other seats get as much; 0 above the limit."""
        return 0 if held_bytes >= self._limit_bytes else min(run.messages, share_messages)

    def on_end(self, run: Run, now: float) -> None:
        """Nothing can be learned: the end of a run says only that the kernel took it."""


class Everything:
    """For the only consumer there is: whatever is queued is sent, and kept until acknowledged."""

    retains = True

    def messages_of(self, run: Run, held_bytes: int, share_messages: int) -> int:  # noqa: ARG002
        """The whole run."""
        return run.messages

    def on_end(self, run: Run, now: float) -> None:
        """Nothing depends on how long it took."""


class AdaptiveWindow:
    """For consumers that acknowledge: each holds a fraction of a second of its own work.

    It begins with one message, doubles while the consumer is quick and the window is what holds it
    up, and halves when the consumer is slow. One message may always be held, whatever its size.
    """

    retains = True

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 1
        self._was_short = True

    def messages_of(self, run: Run, held_bytes: int, share_messages: int) -> int:
        """As many as fit into the window; at least one for a consumer that holds nothing."""
        room = self._bytes - held_bytes
        if run.size_bytes <= room:
            # To split a long run for fairness costs more than it gives: its taker is quick.
            return run.messages if run.messages > _FEW else min(run.messages, share_messages)
        self._was_short = True
        if held_bytes == 0:
            return max(1, run.part_within(room)[0])
        # Splitting a run costs time; wait until at least half of the window is free.
        return run.part_within(room)[0] if 2 * room >= self._bytes else 0

    def on_end(self, run: Run, now: float) -> None:
        """Grow after a quick run, shrink after a slow one."""
        seconds = now - run.taken_at
        if seconds > SLOW_SECONDS:
            self._bytes = max(1, self._bytes // 2)
        elif seconds < QUICK_SECONDS and self._was_short:
            self._bytes = min(self._limit_bytes, 2 * max(self._bytes, run.size_bytes))
            self._was_short = False
