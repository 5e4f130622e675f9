"""HDF5 files made from templates; uncompressed ones at the speed of copying memory.

Two batches whose arrays have the same shapes and types become files that differ in their arrays
and in the sequence number alone. h5py writes the first such file; the second one's bytes serve as
a template for the others. Where nothing is compressed (`make_template`), the arrays are copied
where h5py had put them, and the result is the same to the last bit; see `hdf5_skeleton` for the
rest.
"""

from __future__ import annotations

import io
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

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
    """An array and where it stands in the file.

    Attributes:
        source: the data source's name.
        path: of the dataset.
        array: what it holds.
        storage: how it is chunked and compressed: arguments of h5py's ``create_dataset``.
    """

    source: str
    path: str
    array: Array
    storage: Mapping[str, Any]


class Writer(Protocol):
    """Has h5py write a file, or one whose datasets are there, but empty."""

    def __call__(self, batch: Batch, placed: Sequence[Placed], *, is_empty: bool = False) -> bytes:
        """The file's bytes."""
        ...


class Template(Protocol):
    """What is known of all files of a layout."""

    def fill(self, sequence: int, placed: Sequence[Placed]) -> bytes | memoryview:
        """The file with this sequence number and these arrays."""
        ...


Maker = Callable[[Writer, Batch, Sequence[Placed]], Template | None]


class Hdf5Templates:
    """Makes file images, through a template wherever the layout was seen before."""

    def __init__(self, write: Writer, make: Maker) -> None:
        self._write = write
        self._make = make
        self._templates: OrderedDict[Any, Template | None] = OrderedDict()

    def image_of(self, batch: Batch, placed: Sequence[Placed]) -> bytes | memoryview:
        """The HDF5 file for a batch whose arrays are placed so."""
        layout = (
            batch.run,
            batch.rank,
            *(_layout_of(place) for place in placed),
        )
        # A layout that comes once only (ragged data, the last batch) is not worth a template.
        is_known = layout in self._templates
        template = self._templates.get(layout)
        if is_known and template is None:
            template = self._make(self._write, batch, placed)
        self._templates[layout] = template
        self._templates.move_to_end(layout)
        if len(self._templates) > KEPT_TEMPLATES:
            self._templates.popitem(last=False)
        if template is None:
            return self._write(batch, placed)
        return template.fill(batch.sequence, placed)


def _layout_of(place: Placed) -> tuple[Any, ...]:
    source, path, array, storage = place
    is_text = array.dtype.metadata is not None  # equal types otherwise, to numpy
    return (source, path, array.shape, array.dtype, is_text, *storage.items())


@dataclass(frozen=True)
class _PlainTemplate:
    """A file's bytes, where they take arrays, and where the sequence number stands.

    Attributes:
        image: the file, with anything where the arrays and the number belong.
        slots: number of the array, start and end in the file; ascending.
        sequence_start: where the sequence number begins.
        buffers: where the memory for files comes from.
    """

    image: NDArray[np.uint8]
    slots: tuple[tuple[int, int, int], ...]
    sequence_start: int
    buffers: Buffers

    def fill(self, sequence: int, placed: Sequence[Placed]) -> memoryview:
        image = self.buffers.take(len(self.image))
        behind = 0
        for number, start, end in self.slots:
            array = placed[number].array
            image[behind:start] = self.image[behind:start]
            image[start:end].view(array.dtype).reshape(array.shape)[...] = array
            behind = end
        image[behind:] = self.image[behind:]
        image[self.sequence_start : self.sequence_start + 8].view(np.int64)[0] = sequence
        return image.data


def write_marked(
    write: Writer, batch: Batch, placed: Sequence[Placed], *, is_empty: bool = False
) -> tuple[bytes, int] | None:
    """Write a batch's file under a sequence number that is easy to find, and say where it is."""
    marked = bytes(write(replace(batch, sequence=MARKED_SEQUENCE), placed, is_empty=is_empty))
    marker = MARKED_SEQUENCE.to_bytes(8, sys.byteorder)
    if marked.count(marker) != 1:  # some array has these very bytes
        return None
    return marked, marked.index(marker)


def make_template(
    buffers: Buffers, write: Writer, batch: Batch, placed: Sequence[Placed]
) -> Template | None:
    """A template into which uncompressed arrays are copied; None where that cannot be."""
    found = write_marked(write, batch, placed)
    if found is None:
        return None
    marked, sequence_start = found
    slots: list[tuple[int, int, int]] = []
    with h5py.File(io.BytesIO(marked), "r") as file:
        for number, (_, path, array, _) in enumerate(placed):
            dataset: Any = file[path]
            start = dataset.id.get_offset()
            if start is not None and array.nbytes:
                slots.append((number, start, start + array.nbytes))
            elif array.nbytes:
                return None  # not in one piece
    slots.sort(key=lambda slot: slot[1])
    image = np.frombuffer(marked, np.uint8)
    return _PlainTemplate(image, tuple(slots), sequence_start, buffers)


class Buffers:
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
