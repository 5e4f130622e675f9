"""Data sources that psana 2 reads: detectors, EPICS variables, timestamps and the run's names."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lclstreamer.core.errors import BadInputError, ConfigurationError
from lclstreamer.data_sources.base import RunFacts, Shot
from lclstreamer.data_sources.ragged import name_parts
from lclstreamer.parameters.data_sources import (
    Psana2DetectorInterfaceParameters,
    Psana2RunInfoParameters,
    Psana2TimestampParameters,
)

if TYPE_CHECKING:
    from lclstreamer.core.events import Array


def _run_of(facts: RunFacts, name: str) -> Any:
    if facts.psana_run is None:
        raise ConfigurationError(
            f"the data source {name!r} needs events of psana 2",
            mend="set event_source to Psana2EventSource, or take another data source",
        )
    return facts.psana_run


class Psana2Timestamp:
    """The event's time: seconds in the upper 32 bits, nanoseconds in the lower, exact."""

    def __init__(self, name: str, _parameters: Psana2TimestampParameters, facts: RunFacts) -> None:
        _run_of(facts, name)

    def get(self, shot: Shot) -> Array:
        """The time as a 0-dimensional uint64."""
        return np.asarray(shot.event_id, dtype=np.uint64)


class Psana2RunInfo:
    """Experiment, timestamp of the run, its number and the source identifier."""

    def __init__(self, name: str, _parameters: Psana2RunInfoParameters, facts: RunFacts) -> None:
        run = _run_of(facts, name)
        parts = [run.expt, run.timestamp, run.runnum, facts.source_identifier]
        self._texts = np.asarray(["" if part is None else str(part) for part in parts], np.str_)

    def get(self, _shot: Shot) -> Array:
        """The four texts."""
        return self._texts


class Psana2DetectorInterface:
    """One or several fields of a detector, or the value of an EPICS variable."""

    def __init__(
        self, name: str, parameters: Psana2DetectorInterfaceParameters, facts: RunFacts
    ) -> None:
        self._name, self._parameters = name, parameters
        self._dtype = None if parameters.dtype is None else np.dtype(parameters.dtype)
        self._detector = self._find(_run_of(facts, name))
        if self._detector is None:
            return
        if parameters.psana_fields is None and not callable(self._detector):
            raise ConfigurationError(
                f"{parameters.psana_name} of data source {name!r} is a detector, not an EPICS "
                f"variable: it has the fields {', '.join(_names_in(self._detector))}",
                mend="add psana_fields, e.g. 'psana_fields: raw.raw'",
            )
        for field in parameters.psana_fields or ():
            self._check(field)

    def _find(self, run: Any) -> Any:
        wanted = self._parameters.psana_name
        try:
            return run.Detector(wanted)
        except KeyError as error:
            if not self._parameters.required:
                return None
            known = sorted({*run.detnames, *(name for name, _ in run.epicsinfo)})
            close = difflib.get_close_matches(wanted, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
            raise ConfigurationError(
                f"the run has no {wanted!r}, which data source {self._name!r} wants: {hint}",
                mend="correct psana_name, or set 'required: false' to stream without it",
            ) from error

    def _check(self, field: str) -> None:
        here = self._detector
        for part in _path(field):
            if inspect.isroutine(here):
                return  # what it returns is known with the first event
            if not hasattr(here, part):
                names = _names_in(here)
                close = difflib.get_close_matches(part, names, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names)}"
                raise ConfigurationError(
                    f"{self._parameters.psana_name} has no field {field!r}: no {part!r}, {hint}",
                    mend=f"correct psana_fields of data source {self._name!r}",
                )
            here = getattr(here, part)

    def get(self, shot: Shot) -> Array | dict[str, Array] | None:
        """The value of one field, or the values of several by name; None if one is missing."""
        if self._detector is None:
            return None
        fields = self._parameters.psana_fields
        if fields is None:
            return self._as_arrays(self._detector(shot.native))
        if len(fields) == 1:
            return self._as_arrays(_follow(self._detector, fields[0], shot.native))
        arrays: dict[str, Array] = {}
        for field in fields:
            value = self._as_arrays(_follow(self._detector, field, shot.native))
            if value is None:
                return None
            if isinstance(value, dict):
                arrays.update((f"{field}.{part}", array) for part, array in value.items())
            else:
                arrays[field] = value
        return arrays

    def _as_arrays(self, value: Any) -> Array | dict[str, Array] | None:
        if value is None:
            return None
        if isinstance(value, Mapping):
            parts = name_parts(value)
            return {name: self._converted(array) for name, array in parts.items()} or None
        return self._converted(np.asarray(value))

    def _converted(self, array: Array) -> Array:
        if array.dtype == object:
            raise BadInputError(
                f"{self._parameters.psana_name} gives no numbers here, but an object of Python",
                mend="take one of its fields, e.g. 'info.pulseId'",
            )
        return array if self._dtype is None else array.astype(self._dtype, copy=False)


def _names_in(thing: Any) -> list[str]:
    return [name for name in dir(thing) if not name.startswith("_")]


def _path(field: str) -> list[str]:
    # psana lists the timing system's values under TsData, but gives them through info(event).
    return ["info" if part == "TsData" else part for part in field.split(".")]


def _follow(detector: Any, field: str, event: Any) -> Any:
    here = detector
    for part in _path(field):
        here = getattr(_called(here, event), part)
    return _called(here, event)


def _called(thing: Any, event: Any) -> Any:
    if not inspect.isroutine(thing):
        return thing
    return thing(event) if _wants_event(thing) else thing()


def _wants_event(routine: Any) -> bool:
    try:
        parameters = list(inspect.signature(routine).parameters.values())
    except ValueError:  # compiled code without a signature: psana's take the event
        return True
    if not parameters or parameters[0].kind == inspect.Parameter.VAR_KEYWORD:
        return False
    first = parameters[0]
    return first.default is inspect.Parameter.empty or first.name in {"evt", "event"}
