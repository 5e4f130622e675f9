"""What an event source is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from lclstreamer.core.events import Event
from lclstreamer.data_sources.base import Extractor
from lclstreamer.mpi import RankContext


class StopFlag:
    """Asks for the end of the reading. To be set in a signal handler, too.

    (`threading.Event` is not: a handler that sets it while the same thread waits for it waits for
    ever for the event's own lock.)
    """

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """Ask for the end."""
        self._is_set = True

    def clear(self) -> None:
        """Take it back."""
        self._is_set = False

    def is_set(self) -> bool:
        """Whether the reading shall end."""
        return self._is_set

    def wait(self, seconds: float) -> None:
        """Sleep, but not much longer than until it is set."""
        end = time.monotonic() + seconds
        while not self._is_set and (rest := end - time.monotonic()) > 0:
            time.sleep(min(rest, 0.05))


@dataclass
class SourceSetup:
    """What an event source is made with, beside its own parameters.

    Attributes:
        source_identifier: as in the configuration.
        extractor: takes the data from each shot.
        context: this rank among the others.
        limit: no more events than this over all ranks together; None for all.
        stop: once it is set, the source ends as soon as it can.
    """

    source_identifier: str
    extractor: Extractor
    context: RankContext = field(default_factory=RankContext)
    limit: int | None = None
    stop: StopFlag = field(default_factory=StopFlag)


class EventSource(Protocol):
    """Gives this rank its share of a run's events, each of them to one rank only.

    A class is made with ``(parameters, setup)``; making it opens what it reads, so that what is
    not there is said before anything else starts.

    Attributes:
        run: what the events are read from, e.g. ``exp=tmox42619,run=42``.
        produces_events: whether this rank gets events at all (some of psana's ranks do not, but
            their ``events()`` must run nevertheless).
    """

    run: str
    produces_events: bool

    def __init__(self, parameters: Any, setup: SourceSetup, /) -> None: ...

    @staticmethod
    def needs_communicator(parameters: Any, source_identifier: str, /) -> bool:
        """Whether the ranks must be able to talk to each other."""
        ...

    @staticmethod
    def why_unavailable() -> str | None:
        """Why this machine cannot read such events; None if it can."""
        ...

    def events(self) -> Iterator[Event]:
        """Read the events. To be run to its end in any case, after ``stop`` as well."""
        ...


class Pace:
    """Holds a made-up or replayed run to its rate.

    Args:
        events_per_second: the rate of the whole run, over all ranks; None for no limit.
        stop: ends a wait early.
    """

    def __init__(self, events_per_second: float | None, stop: StopFlag) -> None:
        self._rate, self._stop = events_per_second, stop
        self._start = time.monotonic()

    def wait_for(self, number: int) -> None:
        """Wait until the run's event of this number is due."""
        if self._rate is not None:
            delay_seconds = self._start + number / self._rate - time.monotonic()
            if delay_seconds > 0:
                self._stop.wait(delay_seconds)
