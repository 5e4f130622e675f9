"""Datasets of replayed HDF5 files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lclstreamer.core.errors import ConfigurationError
from lclstreamer.data_sources.base import RunFacts, Shot
from lclstreamer.parameters.data_sources import Hdf5DatasetParameters

if TYPE_CHECKING:
    from lclstreamer.core.events import Array

READ_AHEAD_BYTES = 16 * 2**20
"""Rows are read in blocks of about this size."""


@dataclass(frozen=True)
class Row:
    """The place of an event in a file.

    Attributes:
        file: the open `h5py.File`.
        index: the event's row.
        end: the row after the last one this rank reads from the file.
    """

    file: Any
    index: int
    end: int


class Hdf5Dataset:
    """One row of a dataset, or all of it for a dataset that does not count events."""

    def __init__(self, name: str, parameters: Hdf5DatasetParameters, facts: RunFacts) -> None:
        if not facts.replays_hdf5:
            raise ConfigurationError(
                f"the data source {name!r} needs events of HDF5 files",
                mend="set event_source to Hdf5EventSource, or take another data source",
            )
        self._parameters = parameters
        self._file: Any = None
        self._block: Array | None = None
        self._first = 0

    def get(self, shot: Shot) -> Array | None:
        """The event's data; None where the file lacks the dataset or the row."""
        row: Row = shot.native
        if row.file is not self._file:
            self._file, self._block = row.file, None
        if not self._parameters.per_event:
            if self._block is None:
                self._block = self._read(row.file, ())
            return self._block
        if self._block is None or not self._first <= row.index < self._first + len(self._block):
            self._block, self._first = self._read_rows(row), row.index
        if self._block is None or row.index >= self._first + len(self._block):
            return None
        return self._block[row.index - self._first]

    def _read_rows(self, row: Row) -> Array | None:
        dataset = row.file.get(self._parameters.path)
        if dataset is None or row.index >= len(dataset):
            return None
        row_bytes = max(1, dataset.nbytes // max(1, len(dataset)))
        rows = max(1, READ_AHEAD_BYTES // row_bytes)
        return self._read(row.file, slice(row.index, min(row.end, row.index + rows)))

    def _read(self, file: Any, rows: Any) -> Array | None:
        dataset = file.get(self._parameters.path)
        if dataset is None:
            return None
        if dataset.dtype.kind == "O":  # text of variable length
            array = np.asarray(dataset.asstr()[rows], dtype=np.str_)
        else:
            array = np.asarray(dataset[rows])
        return array if self._parameters.dtype is None else array.astype(self._parameters.dtype)
