"""Bytes and durations: as people write them, as programs count them."""

from __future__ import annotations

import re

from lclstreamer.core.errors import BadInputError

_BYTE_FACTORS = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12,
    "tb": 10**12, "kib": 2**10, "ki": 2**10, "mib": 2**20, "mi": 2**20, "gib": 2**30, "gi": 2**30,
    "tib": 2**40, "ti": 2**40,
}  # fmt: skip
_SECOND_FACTORS = {"ms": 1e-3, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)", re.IGNORECASE)


def parse_bytes(text: str | int) -> int:
    """Read a size such as ``256 MiB``, ``1.5GB`` or ``4096`` as a number of bytes.

    Raises:
        BadInputError: the text is not a size.
    """
    if isinstance(text, int) and text >= 0:
        return text
    text = str(text)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    factor = _BYTE_FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise BadInputError(
            f"{text!r} is not a size in bytes", mend="write a number with a unit, e.g. '256 MiB'"
        )
    return int(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor


def format_bytes(count: float) -> str:
    """Write a number of bytes with a binary unit: ``1536`` becomes ``1.5 KiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"  # pragma: no cover  (the loop always returns)


def parse_duration(text: str | float, *, bare_unit_seconds: float = 1) -> float:
    """Read a duration such as ``1h30m``, ``90 s`` or ``250ms`` as seconds.

    A bare number counts in ``bare_unit_seconds`` (jobs count minutes, most settings seconds).

    Raises:
        BadInputError: the text is not a duration.
    """
    stripped = str(text).strip()
    if re.fullmatch(r"\d+(?:\.\d+)?", stripped):
        return float(stripped) * bare_unit_seconds
    if not re.fullmatch(rf"(?:{_DURATION_PART.pattern}\s*)+", stripped, re.IGNORECASE):
        raise BadInputError(
            f"{text!r} is not a duration", mend="write it like '90s', '1h30m' or '250ms'"
        )
    parts = _DURATION_PART.findall(stripped)
    return sum(float(number) * _SECOND_FACTORS[unit.lower()] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """Write seconds for people: ``5400`` becomes ``1h30m``, ``0.25`` becomes ``250ms``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s"
