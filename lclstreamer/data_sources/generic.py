"""Data sources that need no framework: random and constant data, and what describes the run."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from lclstreamer.data_sources.base import RunFacts, Shot
from lclstreamer.parameters.data_sources import (
    ConstValueParameters,
    EventIdParameters,
    FloatValueParameters,
    GenericRandomNumpyArrayParameters,
    IntValueParameters,
    SourceIdentifierParameters,
)

if TYPE_CHECKING:
    from lclstreamer.core.events import Array


class GenericRandomNumpyArray:
    """Random numbers that depend on seed, name and event id alone."""

    def __init__(
        self, name: str, parameters: GenericRandomNumpyArrayParameters, facts: RunFacts
    ) -> None:
        self._shape = parameters.array_shape
        self._dtype = np.dtype(parameters.array_dtype)
        # The name takes part: two sources of one event must not show the same numbers.
        self._key = (facts.seed, zlib.crc32(name.encode()))
        self._constant = None if parameters.always_random else self._make(0)

    def get(self, shot: Shot) -> Array:
        """The event's array."""
        return self._make(shot.event_id) if self._constant is None else self._constant

    def _make(self, event_id: int) -> Array:
        generator = np.random.Generator(np.random.SFC64([*self._key, event_id]))
        if self._dtype.kind == "f":
            if self._dtype.itemsize >= 4:
                return generator.random(self._shape, dtype=self._dtype.type)
            return generator.random(self._shape, dtype=np.float32).astype(self._dtype)
        high = min(255, int(np.iinfo(self._dtype).max) + 1)
        return generator.integers(0, high, self._shape, dtype=self._dtype.type)


class ConstValue:
    """The same array for every event."""

    def __init__(
        self,
        _name: str,
        parameters: ConstValueParameters | FloatValueParameters | IntValueParameters,
        _facts: RunFacts,
    ) -> None:
        self._value = np.asarray(parameters.value, dtype=self._dtype_of(parameters))

    @staticmethod
    def _dtype_of(
        parameters: ConstValueParameters | FloatValueParameters | IntValueParameters,
    ) -> str:
        if isinstance(parameters, ConstValueParameters):
            return parameters.dtype
        return "int64" if isinstance(parameters, IntValueParameters) else "float64"

    def get(self, _shot: Shot) -> Array:
        """The value."""
        return self._value


class SourceIdentifier:
    """The configuration's source identifier."""

    def __init__(
        self, _name: str, _parameters: SourceIdentifierParameters, facts: RunFacts
    ) -> None:
        self._text = np.asarray(facts.source_identifier, dtype=np.str_)

    def get(self, _shot: Shot) -> Array:
        """The text, as a 0-dimensional array."""
        return self._text


class EventId:
    """The event's id as uint64; also what psana's timestamps are."""

    def __init__(self, _name: str, _parameters: EventIdParameters, _facts: RunFacts) -> None:
        pass

    def get(self, shot: Shot) -> Array:
        """The id, as a 0-dimensional array."""
        return np.asarray(shot.event_id, dtype=np.uint64)
