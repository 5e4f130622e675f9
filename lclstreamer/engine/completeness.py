"""What happens to events that lack something."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lclstreamer.core.events import Event


@dataclass
class EventCounts:
    """What became of the events of one rank.

    Attributes:
        read: events that the source gave.
        skipped: of these, left out because something required was missing.
        filled: of these, sent with something missing filled in.
        missing: how often each data source was missing.
        first_unix: when the first event was read, in seconds since 1970; None before.
        last_unix: when the last one was.
    """

    read: int = 0
    skipped: int = 0
    filled: int = 0
    missing: Counter[str] = field(default_factory=Counter[str])
    first_unix: float | None = None
    last_unix: float | None = None


class CompletenessGate:
    """Counts events, and leaves out the incomplete ones where that is wanted.

    What is missing in the others is filled when they are stacked into a batch.
    """

    def __init__(self, data_sources: Mapping[str, Any], *, skips_incomplete: bool) -> None:
        self._required = {
            name for name, source in data_sources.items() if getattr(source, "required", True)
        }
        self._skips_incomplete = skips_incomplete
        self.counts = EventCounts()

    def passed(self, events: Iterator[Event]) -> Iterator[Event]:
        """The events that go on."""
        counts = self.counts
        for event in events:
            counts.last_unix = time.time()
            counts.first_unix = counts.first_unix or counts.last_unix
            counts.read += 1
            missing = [name for name, value in event.data.items() if value is None]
            counts.missing.update(missing)
            if self._skips_incomplete and not self._required.isdisjoint(missing):
                counts.skipped += 1
            else:
                counts.filled += bool(missing)
                yield event
