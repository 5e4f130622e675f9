"""The Elog's messages, read as they really come.

Real messages carry bare ``NaN``, three dialects of date, keys with U+FF0E in place of a dot, run
numbers as int, float or text, and envelopes without ``CRUD`` or ``experiment_name``. All of that
is read. What cannot be understood raises `MalformedMessageError`; what does not concern runs
(shifts, roles, messages of people …) is simply not a `RunEvent`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from lclstreamer.core.errors import BadInputError

KEY_ESCAPES = str.maketrans({"\uff0e": ".", "\uff04": "$"})
"""MongoDB allows neither ``.`` nor ``$`` in keys; the Elog sends their full-width twins."""

DETECTOR_PREFIX = "DAQ Detectors/drp/"
Scalar = str | int | float | bool | None


class MalformedMessageError(BadInputError):
    """A Kafka message that says something about runs, but not in a form that can be used."""

    title = "malformed message"


class RunEventKind(StrEnum):
    """What a message tells."""

    RUN_START = "run_start"
    RUN_PARAMS = "run_params"
    RUN_END = "run_end"
    FILE_OPENED = "file_opened"
    FILE_AVAILABLE = "file_available"
    EXPERIMENT_SWITCH = "experiment_switch"
    STANDBY = "standby"


class RunEvent(BaseModel):
    """What one message of the Elog means."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: RunEventKind
    experiment: str = ""
    """The experiment's name, e.g. ``mfxx00126``; empty for a standby."""
    run_number: int = 0
    """The experiment's own count, from 1; 0 where the message is not about a run."""
    run_oid: str = ""
    """The Elog's ``_id`` of the run, which stays when anything else of it changes."""
    run_type: str = ""
    """What the data-taking system calls it: DATA, DARK, …; free text."""
    begin_time: datetime | None = None
    end_time: datetime | None = None
    sample: str = ""
    params: Mapping[str, Scalar] = Field(default_factory=dict)
    """Run parameters, with dots in their names restored."""
    files: Mapping[str, frozenset[str]] = Field(default_factory=dict)
    """Logical path, e.g. ``/mfx/mfxx00126/xtc/mfxx00126-r0017-s000-c000.xtc2`` → the places where
    the file is, e.g. ``S3DF``; none of them while the file is only opened."""
    instrument: str = ""
    station: int = 0

    @field_serializer("files")
    def _sorted(self, files: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
        return {path: sorted(locations) for path, locations in files.items()}

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detectors that the data-taking system reads out, as far as they are known."""
        return detectors_of(self.params)


def detectors_of(params: Mapping[str, Scalar]) -> tuple[str, ...]:
    """The detectors named by the parameters ``DAQ Detectors/drp/<name>``."""
    names = (key.removeprefix(DETECTOR_PREFIX) for key in params if key.startswith(DETECTOR_PREFIX))
    return tuple(sorted(names))


def read_message(raw: bytes | str) -> RunEvent | None:
    """What a Kafka message means for runs, or None where it means nothing for them.

    Raises:
        MalformedMessageError: it is not JSON, not an envelope, or lacks what identifies a run.
    """
    try:
        envelope = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"it is not JSON: {error}", raw) from error
    if not isinstance(envelope, dict):
        raise _malformed("it is not a JSON object", raw)
    value = envelope.get("value")
    if not isinstance(value, dict):
        if "value" in envelope or "experiment_name" in envelope:
            raise _malformed("its 'value' is not an object", raw)
        return None  # cache notices and whatever else has no document
    try:
        return _read_document(envelope, value)
    except MalformedMessageError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise _malformed(str(error), raw) from error


def run_event_of(experiment: str, document: Mapping[str, Any]) -> RunEvent:
    """The meaning of a run document as REST gives it: an end where it has ended, else a start.

    Raises:
        MalformedMessageError: it lacks what identifies a run.
    """
    try:
        return _run_event(experiment, "", document)
    except (ValueError, TypeError, OverflowError) as error:
        raise _malformed(str(error), json.dumps(document, default=str)) from error


def read_time(text: object) -> datetime | None:
    """A date in any of the Elog's dialects, in UTC; a naive one is UTC already.

    Raises:
        ValueError, TypeError: it is no date.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is not a date")
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_run_number(value: object) -> int:
    """A run number that came as int, as whole float or as digits.

    Raises:
        ValueError: it is none of these, or negative.
    """
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        number = float(value)
        if number.is_integer() and number >= 0:
            return int(value)
    raise ValueError(f"{value!r} is not a run number")


def _read_document(envelope: Mapping[str, Any], value: Mapping[str, Any]) -> RunEvent | None:
    experiment = envelope.get("experiment_name") or ""
    if not isinstance(experiment, str):
        raise TypeError(f"experiment_name is {experiment!r}, not text")
    crud = envelope.get("CRUD") or ""
    if "num" in value and ("begin_time" in value or "end_time" in value):
        return None if crud == "Delete" else _run_event(experiment, crud, value)
    if "path" in value and "run_num" in value and "status" not in value:
        return None if crud == "Delete" else _file_event(experiment, value)
    if "station" in value and "instrument" in value:
        return _switch_event(value)
    return None


def _run_event(experiment: str, crud: str, value: Mapping[str, Any]) -> RunEvent:
    oid = value.get("_id")
    if not experiment or not isinstance(oid, str) or not oid:
        raise ValueError("a run needs experiment_name and _id, and one of them is missing")
    begin, end = read_time(value.get("begin_time")), read_time(value.get("end_time"))
    params = _read_params(value.get("params"))
    if end is not None:
        kind = RunEventKind.RUN_END
    elif crud == "Create" or not params:
        kind = RunEventKind.RUN_START
    else:
        kind = RunEventKind.RUN_PARAMS
    return RunEvent(
        kind=kind,
        experiment=experiment,
        run_number=read_run_number(value.get("num")),
        run_oid=oid,
        run_type=str(value.get("type") or ""),
        begin_time=begin,
        end_time=end,
        sample=_sample_name(value.get("sample")),
        params=params,
        files=dict(_read_file(file) for file in value.get("file_catalog") or ()),
    )


def _file_event(experiment: str, value: Mapping[str, Any]) -> RunEvent:
    if not experiment:
        raise ValueError("a file needs experiment_name, and it is missing")
    path, locations = _read_file(value)
    return RunEvent(
        kind=RunEventKind.FILE_AVAILABLE if locations else RunEventKind.FILE_OPENED,
        experiment=experiment,
        run_number=read_run_number(value.get("run_num")),
        files={path: locations},
    )


def _read_file(value: object) -> tuple[str, frozenset[str]]:
    if not isinstance(value, dict):
        raise TypeError(f"a file is {value!r}, not an object")
    path, locations = value.get("path"), value.get("locations") or {}
    if not isinstance(path, str) or not path:
        raise ValueError(f"a file's path is {path!r}")
    if not isinstance(locations, dict):
        raise TypeError(f"locations is {locations!r}, not an object")
    return path, frozenset(str(name) for name, facts in locations.items() if facts)


def _switch_event(value: Mapping[str, Any]) -> RunEvent:
    experiment = value.get("experiment_name") or ""
    return RunEvent(
        kind=RunEventKind.EXPERIMENT_SWITCH if experiment else RunEventKind.STANDBY,
        experiment=str(experiment),
        instrument=str(value["instrument"]).upper(),
        station=int(value["station"]),
    )


def _read_params(params: object) -> dict[str, Scalar]:
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise TypeError(f"params is {params!r}, not an object")
    return {
        str(key).translate(KEY_ESCAPES): value
        for key, value in params.items()
        if value is None or isinstance(value, str | int | float | bool)
    }


def _sample_name(sample: object) -> str:
    """REST expands the sample to its document, Kafka gives its name (or, once, its id)."""
    if isinstance(sample, dict):
        return str(sample.get("name") or "")
    return str(sample or "")


def _malformed(what: str, raw: bytes | str) -> MalformedMessageError:
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    shown = text if len(text) <= 200 else text[:199] + "…"
    return MalformedMessageError(
        f"a message of the Elog cannot be used: {what}; it reads {shown!r}",
        mend="look at it in the dead-letter file; if the Elog's format changed, report it",
    )
