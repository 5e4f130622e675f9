"""Parameters of the event sources: where events come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lclstreamer.parameters.base import StrictModel

Rate = Annotated[float, Field(gt=0, le=1e9)]


class InternalEventSourceParameters(StrictModel):
    """Events made up on the spot, for tests and demonstrations; no framework is needed.

    The events are numbered from 0 and dealt over the ranks: together they make exactly the number
    asked for, and the same ones whatever the number of ranks.
    """

    type: Literal["InternalEventSource"]

    number_of_events_to_generate: Annotated[int, Field(strict=True, ge=1, le=10**12)]
    """Events in the whole run, over all ranks together."""

    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    """Start of the random numbers: the same seed gives the same events."""

    events_per_second: Rate | None = None
    """The rate of the whole run, over all ranks together; by default as fast as possible."""


class Psana1EventSourceParameters(StrictModel):
    """Events of LCLS-I, read by psana 1 (``source_identifier: exp=xpptut15:run=430``).

    The parameters are understood; reading comes in a later version.
    """

    type: Literal["Psana1EventSource"]


class Psana2EventSourceParameters(StrictModel):
    """Events of LCLS-II, read by psana 2.

    ``source_identifier`` says what: ``exp=tmox42619,run=42`` with ``dir=FOLDER`` where the files
    are not in their usual place, or ``files=FILE.xtc2``; beside them ``live``, ``ffb`` and
    ``max_events=N``.
    """

    type: Literal["Psana2EventSource"]

    calibration_constants: Literal["auto", "load", "skip"] = "auto"
    """Whether to ask the calibration server for constants. ``auto`` asks when a data source wants
    calibrated data (``calib``, ``image`` …); without constants psana gives raw values instead."""

    file_list: Literal["auto", "logbook", "disk"] = "auto"
    """Who knows the run's files. ``auto`` is the disk where ``dir=`` is given and the run is not
    live, else the logbook. ``disk`` asks nobody, so it works without a network."""

    logbook_url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    """Base URL of the logbook that lists a run's files, by default SLAC's; psana asks it for
    ``<base>/lgbk/<experiment>/ws/<run>/current_files_for_live_mode``."""

    batch_size: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 10
    """Events that psana hands to a rank at once. Small batches spread a short run over the ranks;
    take 1000 for small events at a high rate."""

    live_timeout_seconds: Annotated[int, Field(strict=True, ge=1, le=86_400)] = 60
    """How long a live run may stand still before it counts as ended."""


class Hdf5EventSourceParameters(StrictModel):
    """Events replayed from HDF5 files: ours, or others with one row per event (CXI).

    ``source_identifier`` names the files: paths or patterns such as ``/data/run*.h5``, with commas
    between them; they are read in that order, patterns sorted. The ranks share the events.
    """

    type: Literal["Hdf5EventSource"]

    event_id_dataset: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    """Path of the dataset with each event's id (an integer, e.g. the timestamp). By default the
    ids of our own files, and in other files the number of the event."""

    events_per_second: Rate | None = None
    """The rate of the whole run, over all ranks together; by default as fast as possible."""


EventSourceParameters = Annotated[
    InternalEventSourceParameters
    | Psana1EventSourceParameters
    | Psana2EventSourceParameters
    | Hdf5EventSourceParameters,
    Field(discriminator="type"),
]
"""Any event source."""
