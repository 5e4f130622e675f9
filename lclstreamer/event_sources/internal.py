"""Events made up on the spot."""

from __future__ import annotations

from collections.abc import Iterator

from lclstreamer.core.events import Event
from lclstreamer.data_sources.base import RunFacts, Shot
from lclstreamer.event_sources.base import Pace, SourceSetup
from lclstreamer.parameters.event_sources import InternalEventSourceParameters


class InternalEventSource:
    """Numbers its events from 0 and deals them over the ranks."""

    produces_events = True

    def __init__(self, parameters: InternalEventSourceParameters, setup: SourceSetup) -> None:
        self._parameters, self._setup = parameters, setup
        self.run = setup.source_identifier or "internal"
        setup.extractor.prepare(RunFacts(setup.source_identifier, parameters.seed))

    @staticmethod
    def needs_communicator(_parameters: InternalEventSourceParameters, _identifier: str) -> bool:
        """The ranks know their shares without talking."""
        return False

    @staticmethod
    def why_unavailable() -> str | None:
        """Needs nothing."""
        return None

    def events(self) -> Iterator[Event]:
        """This rank's share."""
        setup, count = self._setup, self._parameters.number_of_events_to_generate
        if setup.limit is not None:
            count = min(count, setup.limit)
        pace = Pace(self._parameters.events_per_second, setup.stop)
        for number in setup.context.share(count):
            pace.wait_for(number)
            if setup.stop.is_set():
                return
            yield setup.extractor.extract(Shot(number))
