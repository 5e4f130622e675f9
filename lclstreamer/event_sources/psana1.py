"""Events of LCLS-I."""

from __future__ import annotations

from collections.abc import Iterator

from lclstreamer.core.errors import MissingDependencyError
from lclstreamer.core.events import Event
from lclstreamer.event_sources.base import SourceSetup
from lclstreamer.parameters.event_sources import Psana1EventSourceParameters

NOT_YET = "LCLS-I data cannot be read yet: this version has no psana 1 reader"


class Psana1EventSource:
    """Says that reading LCLS-I data comes in a later version."""

    run = ""
    produces_events = False

    def __init__(self, _parameters: Psana1EventSourceParameters, setup: SourceSetup) -> None:
        raise MissingDependencyError(
            NOT_YET,
            where=setup.source_identifier or None,
            mend="for LCLS-II data take Psana2EventSource; for LCLS-I wait for a later version, "
            "or replay HDF5 files of the run with Hdf5EventSource",
        )

    @staticmethod
    def needs_communicator(_parameters: Psana1EventSourceParameters, _identifier: str) -> bool:
        """Nothing is read, so nothing is shared."""
        return False

    @staticmethod
    def why_unavailable() -> str | None:
        """Always."""
        return NOT_YET

    def events(self) -> Iterator[Event]:
        """No events."""
        return iter(())
