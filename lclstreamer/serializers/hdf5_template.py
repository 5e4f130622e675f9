"""Uncompressed HDF5 at the speed of copying memory.

Two batches whose arrays have the same shapes and types become files that differ in their arrays
and in the sequence number alone. h5py writes the first such file; from the second on its bytes
serve as a template, into which the arrays are copied where h5py had put them. The result is the
same to the last bit.
"""

from __future__ import annotations

import io
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py  # noqa: TID253  (this module and hdf5.py are its leaves)
import numpy as np

from lclstreamer.core.events import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

KEPT_TEMPLATES = 8
"""A batch size for each of a few texts' lengths; the last batch of a run is another."""

KEPT_BYTES = 256 * 2**20
"""Memory that is kept warm for the next messages: fresh pages cost more than the copying."""

MARKED_SEQUENCE = 0x5EC5_1E5E_C51E_5EC5
"""Written as the sequence number to find its place."""

_UNUSED_REFERENCES = 3  # to a buffer that nobody outside uses: list, loop variable, argument


class Placed(NamedTuple):
    """An array and where it stands in the file: the data source's name, the path, the array."""

    source: str
    path: str
    array: Array


Writer = Callable[[Batch, Sequence[Placed]], bytes]


class Hdf5Templates:
    """Makes file images, through a template wherever the layout was seen before."""

    def __init__(self, write: Writer) -> None:
        self._write = write
        self._templates: OrderedDict[Any, _Template | None] = OrderedDict()
        self._buffers = _Buffers()

    def image_of(self, batch: Batch, placed: Sequence[Placed]) -> bytes | memoryview:
        """The HDF5 file for a batch whose arrays are placed so."""
        layout = (
            batch.run,
            batch.rank,
            *((p.source, p.path, p.array.shape, p.array.dtype, _is_text(p.array)) for p in placed),
        )
        # A layout that comes once only (ragged data, the last batch) is not worth a template.
        is_known = layout in self._templates
        template = self._templates.get(layout)
        if is_known and template is None:
            template = _make_template(self._write, batch, placed)
        self._templates[layout] = template
        self._templates.move_to_end(layout)
        if len(self._templates) > KEPT_TEMPLATES:
            self._templates.popitem(last=False)
        if template is None:
            return self._write(batch, placed)
        return template.fill(self._buffers, batch.sequence, placed)


def _is_text(array: Array) -> bool:
    return array.dtype.metadata is not None  # equal types otherwise, to numpy


@dataclass(frozen=True)
class _Template:
    """A file's bytes, where they take arrays, and where the sequence number stands.

    Attributes:
        image: the file, with anything where the arrays and the number belong.
        slots: number of the array, start and end in the file; ascending.
        sequence_start: where the sequence number begins.
    """

    image: NDArray[np.uint8]
    slots: tuple[tuple[int, int, int], ...]
    sequence_start: int

    def fill(self, buffers: _Buffers, sequence: int, placed: Sequence[Placed]) -> memoryview:
        image = buffers.take(len(self.image))
        behind = 0
        for number, start, end in self.slots:
            array = placed[number].array
            image[behind:start] = self.image[behind:start]
            image[start:end].view(array.dtype).reshape(array.shape)[...] = array
            behind = end
        image[behind:] = self.image[behind:]
        image[self.sequence_start : self.sequence_start + 8].view(np.int64)[0] = sequence
        return image.data


def _make_template(write: Writer, batch: Batch, placed: Sequence[Placed]) -> _Template | None:
    """Write a batch under a sequence number that is easy to find; None where that fails."""
    marked = bytes(write(replace(batch, sequence=MARKED_SEQUENCE), placed))
    marker = MARKED_SEQUENCE.to_bytes(8, sys.byteorder)
    if marked.count(marker) != 1:  # some array has these very bytes
        return None
    slots: list[tuple[int, int, int]] = []
    with h5py.File(io.BytesIO(marked), "r") as file:
        for number, (_, path, array) in enumerate(placed):
            dataset: Any = file[path]
            start = dataset.id.get_offset()
            if start is not None and array.nbytes:
                slots.append((number, start, start + array.nbytes))
            elif array.nbytes:
                return None  # not in one piece
    slots.sort(key=lambda slot: slot[1])
    return _Template(np.frombuffer(marked, np.uint8), tuple(slots), marked.index(marker))


class _Buffers:
    """Memory for images, used again once nobody refers to the image in it any more."""

    def __init__(self) -> None:
        self._kept: list[NDArray[np.uint8]] = []

    def take(self, size_bytes: int) -> NDArray[np.uint8]:
        """A buffer of exactly this size."""
        for buffer in self._kept:
            if len(buffer) == size_bytes and sys.getrefcount(buffer) == _UNUSED_REFERENCES:
                return buffer
        fresh = np.empty(size_bytes, np.uint8)
        if size_bytes + sum(len(buffer) for buffer in self._kept) <= KEPT_BYTES:
            self._kept.append(fresh)
        elif self._kept and len(self._kept[0]) != size_bytes:
            self._kept = []  # the size has changed: what is in use lives on by itself
        return fresh
