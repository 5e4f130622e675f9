"""What a running job prints, on its way into the task's log: bounded, never in anybody's way.

`LogTail` decides what is read next and what of it becomes a line; it reads nothing itself, so that
workers (which wait) and triggers (which must not) share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lclstreamer.core.units import format_bytes

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.access.base import AsyncJobAccess, JobAccess
    from airflow_provider_lclstream.psik.facts import JobFacts

BYTES_PER_MINUTE = 64 * 1024
"""The most that the logs of one job may add to its task's log, on the long run and at once."""
BEGIN_BYTES = 16 * 1024
"""Of a log that is there already, so much is shown: whoever watches may have begun anew. Of a log
that grows faster than allowed, nothing is shown until so much of it may be."""
LINE_BYTES = 4 * 1024
"""A longer line is cut into several."""
QUIET_SECONDS = 1.0, 10.0
"""Between two looks at the logs: the least, and the most where nothing is printed."""


@dataclass(frozen=True)
class Piece:
    """A piece of a log to read.

    Attributes:
        name: the log.
        offset: where it begins, in bytes.
        length: how much of it to read, in bytes.
        skipped: how much before it is left out, in bytes.
        is_last: whether no more will come.
    """

    name: str
    offset: int
    length: int
    skipped: int
    is_last: bool


class LogTail:
    """How far the logs of one job have been shown.

    Args:
        jobid: the job.
        clock: seconds from any beginning; for tests.
    """

    def __init__(self, jobid: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.jobid = jobid
        self._clock = clock
        self._offsets: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._unfinished: dict[str, int] = {}
        self._allowed, self._counted = float(BYTES_PER_MINUTE), clock()
        self.pause_seconds = QUIET_SECONDS[0]

    def names(self, facts: JobFacts) -> list[str]:
        """The logs of the present attempt's script, as far as they are there."""
        wanted = [f"{stem}.{facts.jobndx}" for stem in ("stdout", "stderr")]
        return [name for name in wanted if name in facts.logs]

    def pieces(self, sizes: Mapping[str, int], *, is_last: bool) -> Iterator[Piece]:
        """What to read now, given the lengths of the logs in bytes."""
        self._refill()
        has_grown = False
        for name, size in sizes.items():
            known = self._offsets.get(name)
            fresh = size - (known or 0)
            has_grown = has_grown or size != self._sizes.get(name, 0)
            self._sizes[name] = size
            if self._unfinished.get(name) == size and not is_last:
                continue
            most = int(self._allowed) if known is not None else BEGIN_BYTES
            length = min(fresh, max(most, BEGIN_BYTES) if is_last else most)
            if length <= 0 or length < min(fresh, BEGIN_BYTES):
                continue
            yield Piece(name, size - length, length, fresh - length, is_last)
        shortest, longest = QUIET_SECONDS
        self.pause_seconds = shortest if has_grown else min(longest, self.pause_seconds * 1.5)

    def lines(self, piece: Piece, content: bytes) -> Iterator[str]:
        """The lines of a piece that was read; an unfinished one waits for its end."""
        begin, end = 0, len(content)
        if piece.skipped > 0:
            begin = content.find(b"\n") + 1  # what is left of a line says nothing
            left_out = format_bytes(piece.skipped + begin)
            first = "" if piece.name in self._offsets else "the first "
            yield f"… {first}{left_out} of {piece.name} left out, see the job's page (button 'Job')"
        if not piece.is_last:
            end = content.rfind(b"\n") + 1 or (end if end >= LINE_BYTES else 0)
            self._unfinished[piece.name] = piece.offset + len(content)
        self._offsets[piece.name] = piece.offset + end
        self._allowed -= end
        for line in content[begin:end].split(b"\n"):
            # A progress bar is drawn over itself; its last state is what stays on a screen.
            shown = line.rstrip(b"\r").rsplit(b"\r", 1)[-1]
            for cut in range(0, len(shown), LINE_BYTES):
                text = shown[cut : cut + LINE_BYTES].decode("utf-8", "replace")
                yield f"{piece.name}: {text}"

    def _refill(self) -> None:
        now = self._clock()
        gained = (now - self._counted) * BYTES_PER_MINUTE / 60
        self._allowed, self._counted = min(BYTES_PER_MINUTE, self._allowed + gained), now


def read_tail(tail: LogTail, access: JobAccess, facts: JobFacts, *, is_last: bool) -> Iterator[str]:
    """The new lines of a job's logs."""
    if names := tail.names(facts):
        sizes = access.log_sizes(tail.jobid)
        for piece in tail.pieces({name: sizes.get(name, 0) for name in names}, is_last=is_last):
            content = access.read_log(tail.jobid, piece.name, piece.offset, piece.length)
            yield from tail.lines(piece, content)


async def read_tail_async(
    tail: LogTail, access: AsyncJobAccess, facts: JobFacts, *, is_last: bool
) -> list[str]:
    """As `read_tail`, without blocking the event loop."""
    found: list[str] = []
    if names := tail.names(facts):
        sizes = await access.log_sizes(tail.jobid)
        for piece in tail.pieces({name: sizes.get(name, 0) for name in names}, is_last=is_last):
            content = await access.read_log(tail.jobid, piece.name, piece.offset, piece.length)
            found += tail.lines(piece, content)
    return found
