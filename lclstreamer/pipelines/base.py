"""What every pipeline offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from lclstreamer.core.events import Batch, Event


class ProcessingPipeline(Protocol):
    """Turns one rank's events into its batches.

    A pipeline keeps references to the arrays of the events it was given until their batch is
    taken: nobody may change an array after yielding it.
    """

    def process(self, events: Iterator[Event], *, run: str, rank: int) -> Iterator[Batch]:
        """Yield batches, numbered 0, 1, 2 …, until the events end; the last may be short.

        Every event is in exactly one batch, in its order.
        """
        ...
