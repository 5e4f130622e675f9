"""The ``source_identifier`` of psana 2: which run to read, and where from."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

_TEXTS = {"exp": "experiment", "dir": "directory", "drp": "drp"}
_NUMBERS = {"run": "run_number", "max_events": "max_events"}
_FLAGS = {"live": "is_live", "ffb": "is_fast_feedback"}
KEYS = (*_TEXTS, *_NUMBERS, *_FLAGS, "files")


@dataclass(frozen=True)
class PsanaIdentifier:
    """A parsed ``source_identifier``.

    Attributes:
        experiment: e.g. ``tmox42619``.
        run_number: the run's number within its experiment.
        directory: where the run's files are; None for the usual place.
        files: single files, in place of experiment and run.
        drp: read from the data reduction pipeline on this node.
        max_events: stop after that many events over all ranks; 0 for all.
        is_live: the run is still being written.
        is_fast_feedback: read from the fast-feedback file system.
    """

    experiment: str | None = None
    run_number: int | None = None
    directory: str | None = None
    files: tuple[str, ...] = ()
    drp: str | None = None
    max_events: int = 0
    is_live: bool = False
    is_fast_feedback: bool = False


def read_psana_identifier(text: str) -> tuple[PsanaIdentifier, list[str]]:
    """Read an identifier such as ``exp=tmox42619,run=42,live``.

    Returns:
        What could be read, and one sentence for each mistake.
    """
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        try:
            values.update([_read_part(key, value, has_value=bool(equals))])
        except ValueError as mistake:
            mistakes.append(str(mistake))
    identifier = PsanaIdentifier(**values)
    if not mistakes:
        mistakes += _missing_parts(identifier)
    return identifier, mistakes


def _read_part(key: str, value: str, *, has_value: bool) -> tuple[str, Any]:
    if key in _FLAGS and not has_value:
        return _FLAGS[key], True
    if key == "shmem":
        raise ValueError("shared memory (shmem=) is not offered for psana 2: name a run or files")
    if key not in KEYS or key in _FLAGS:
        close = difflib.get_close_matches(key, KEYS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(KEYS)})"
        raise ValueError(f"psana 2 does not know {key!r}{hint}")
    if not value:
        raise ValueError(f"{key}= needs a value")
    if key in _NUMBERS:
        if not value.isdecimal():
            raise ValueError(f"{key}={value} must be a whole number")
        return _NUMBERS[key], int(value)
    if key == "files":
        return key, tuple(filter(None, (name.strip() for name in value.split(";"))))
    return _TEXTS[key], value


def _missing_parts(identifier: PsanaIdentifier) -> list[str]:
    named = [bool(identifier.experiment), bool(identifier.files), bool(identifier.drp)]
    if sum(named) != 1:
        return ["must name one of: a run (exp=tmox42619,run=42), files (files=FILE.xtc2), or drp="]
    if identifier.experiment and identifier.run_number is None:
        return ["a run needs its number: exp=…,run=…"]
    return []
