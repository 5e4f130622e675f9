"""A batch as a complete HDF5 file, and back.

::

    /                   attributes: format, format_version, run, rank, sequence, events
    /LCLS/event_id      uint64, one per event
    <path of a source>  (events, …) in its own type, attribute data_source; text as fixed UTF-8
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import h5py  # noqa: TID253  (this module and those of the templates are its leaves)
import numpy as np

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.events import Batch, Message
from lclstreamer.parameters.serializers import (
    EVENT_IDS_PATH,
    Hdf5SerializerParameters,
    canonical_path,
)
from lclstreamer.serializers.base import (
    FORMAT,
    FORMAT_VERSION,
    check_format_version,
    message_of,
    select_fields,
)
from lclstreamer.serializers.compression import storage_of
from lclstreamer.serializers.hdf5_skeleton import make_skeleton
from lclstreamer.serializers.hdf5_template import Buffers, Hdf5Templates, Placed, make_template

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

SOURCE_ATTRIBUTE = "data_source"
"""The dataset attribute that keeps the data source's name."""


class Hdf5Serializer:
    """Writes each batch as an HDF5 file image in memory."""

    def __init__(self, parameters: Hdf5SerializerParameters) -> None:
        self._parameters = parameters
        is_plain = parameters.compression is None
        make = functools.partial(make_template, Buffers()) if is_plain else make_skeleton
        self._templates = Hdf5Templates(self._write_image, make)

    def serialize(self, batch: Batch) -> Message:
        """Make one HDF5 file of a batch.

        Raises:
            BadInputError: HDF5 cannot hold an array's type.
        """
        placed = [Placed("", EVENT_IDS_PATH, batch.event_ids, {})]  # ids: for every reader
        for source, path, field in select_fields(batch, self._parameters.fields):
            array = storable(field)
            storage = storage_of(self._parameters, array)
            placed.append(Placed(source, canonical_path(path), array, storage))
        return message_of(batch, self._templates.image_of(batch, placed))

    def _write_image(
        self, batch: Batch, placed: Sequence[Placed], *, is_empty: bool = False
    ) -> bytes:
        # A file object is three times as quick as HDF5's own in-memory driver: nothing grows by
        # blocks and nothing is copied out at the end.
        image = io.BytesIO()
        with h5py.File(image, "w") as file:
            file.attrs.update(
                format=FORMAT,
                format_version=FORMAT_VERSION,
                run=batch.run,
                rank=batch.rank,
                sequence=batch.sequence,
                events=len(batch),
            )
            for place in placed:
                self._write_array(file, place, is_empty=is_empty)
        return image.getvalue()  # shares its bytes; a view of them would outlive the file object

    def _write_array(self, file: h5py.File, place: Placed, *, is_empty: bool) -> None:
        source, path, array, storage = place
        data = None if is_empty else array
        try:
            dataset = file.create_dataset(path, array.shape, array.dtype, data, **storage)
        except (TypeError, ValueError, OSError) as error:
            raise BadInputError(
                f"HDF5 cannot hold data source {source!r} of type {array.dtype} at {path}: {error}",
                mend="give the data source a numeric dtype, or leave it out of 'fields'",
            ) from error
        if source:
            dataset.attrs[SOURCE_ATTRIBUTE] = source


def storable(array: Array) -> Array:
    """The array in a type that h5py writes: text becomes UTF-8 of fixed length."""
    if array.dtype.kind != "U":
        return array
    encoded: Array = np.char.encode(array, "utf-8")  # pyright: ignore[reportArgumentType]
    length = max(1, encoded.dtype.itemsize)
    return encoded.astype(h5py.string_dtype("utf-8", length))


def read_hdf5(payload: bytes | bytearray | memoryview) -> Batch:
    """Read an HDF5 message; the arrays are named as the data sources were.

    Raises:
        BadInputError: the bytes are no HDF5 message of this project.
    """
    import hdf5plugin  # registers the filters that compressed datasets need

    del hdf5plugin
    try:
        with h5py.File(io.BytesIO(payload), "r") as file:
            return _batch_of(file)
    except (KeyError, OSError, ValueError) as error:
        raise BadInputError(
            f"this is no complete HDF5 message of lclstreamer: {error}",
            mend="open it with h5py if another program wrote it; else it was damaged on its way",
        ) from error


def _batch_of(file: h5py.File) -> Batch:
    data: dict[str, Array] = {}

    def collect(_path: str, item: Any) -> None:
        if SOURCE_ATTRIBUTE in item.attrs:
            data[str(item.attrs[SOURCE_ATTRIBUTE])] = _array_of(item)

    attributes: dict[str, Any] = dict(file.attrs)
    check_format_version(int(attributes["format_version"]))
    file.visititems(collect)
    event_ids: Any = file[EVENT_IDS_PATH]
    return Batch(
        data=data,
        event_ids=event_ids[...],
        run=str(attributes["run"]),
        rank=int(attributes["rank"]),
        sequence=int(attributes["sequence"]),
    )


def _array_of(dataset: Any) -> Array:
    array: Array = dataset[...]
    text = h5py.check_string_dtype(dataset.dtype)
    if text is None or text.encoding != "utf-8":
        return array
    return np.char.decode(array, "utf-8")  # pyright: ignore[reportArgumentType, reportReturnType]
