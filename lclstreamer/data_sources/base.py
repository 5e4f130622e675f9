"""What a data source is, and how the data sources of a configuration make an event."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lclstreamer.core.events import Event

if TYPE_CHECKING:
    from lclstreamer.core.events import Array

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFacts:
    """What a data source may know about the run before the first event.

    Attributes:
        source_identifier: as in the configuration.
        seed: start of random numbers.
        psana_run: psana's run object, where psana reads.
        replays_hdf5: whether `Shot.native` is a row of an HDF5 file.
    """

    source_identifier: str = ""
    seed: int = 0
    psana_run: Any = None
    replays_hdf5: bool = False


@dataclass(slots=True)
class Shot:
    """One event as its event source has it, before anything is taken from it.

    Attributes:
        event_id: as in `Event`.
        native: psana's event, or the place in an HDF5 file; None for made-up events.
    """

    event_id: int
    native: Any = None


class DataSource(Protocol):
    """Takes one thing from an event.

    A class is made with ``(name, parameters, facts)``. What ``get`` raises counts as missing data
    with a reason; it never ends the stream.
    """

    def __init__(self, name: str, parameters: Any, facts: RunFacts, /) -> None: ...

    def get(self, shot: Shot, /) -> Array | dict[str, Array] | None:
        """The data; several arrays by name for a source with several fields; None if missing."""
        ...


@dataclass
class Extractor:
    """All data sources of a configuration.

    Attributes:
        parameters: the parameters of each data source, by its name.
        class_of: finds the class for parameters.
        failures: how often each data source raised, by ``name: kind of error``.
    """

    parameters: Mapping[str, Any]
    class_of: Callable[[Any], type[DataSource]]
    failures: Counter[str] = field(default_factory=Counter[str])
    _sources: dict[str, DataSource] = field(default_factory=dict[str, DataSource])

    def prepare(self, facts: RunFacts) -> None:
        """Make the data sources for a run that is about to be read."""
        self._sources = {
            name: self.class_of(parameters)(name, parameters, facts)
            for name, parameters in self.parameters.items()
        }

    def extract(self, shot: Shot) -> Event:
        """Take everything from an event; what cannot be had is None."""
        data: dict[str, Array | None] = {}
        for name, source in self._sources.items():
            value = self._get(name, source, shot)
            if isinstance(value, dict):
                data.update((f"{name}.{part}", array) for part, array in value.items())
            else:
                data[name] = value
        return Event(shot.event_id, data)

    def _get(self, name: str, source: DataSource, shot: Shot) -> Array | dict[str, Array] | None:
        try:
            return source.get(shot)
        except Exception as error:  # the border to detector code: whatever it raises, others go on
            reason = f"{name}: {type(error).__name__}"
            self.failures[reason] += 1
            if self.failures[reason] == 1:
                logger.warning(
                    "a data source failed; further failures of this kind are only counted",
                    extra={"data_source": name, "event_id": shot.event_id, "error": repr(error)},
                )
            return None
