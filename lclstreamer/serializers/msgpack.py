"""One event as the msgpack map that CrystFEL reads, and back.

CrystFEL compares the keys of a message by their own length, so that ``detector`` answers for
``detector_distance`` too where it comes first. Longer keys therefore stand before shorter ones.
Images are maps ``{type, shape, data}`` of two dimensions in ``<f4`` or ``<i4``; numbers inside an
inner map (``peak_list``) are read as doubles whatever they are, so they are sent as doubles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgpack  # noqa: TID253  (this module is its leaf)
import numpy as np

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.events import Batch, Message
from lclstreamer.parameters.serializers import RESERVED_NAMES, MsgpackBinarySerializerParameters
from lclstreamer.serializers.base import (
    FORMAT_VERSION,
    check_format_version,
    message_of,
    select_fields,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

EVENT_ID_KEY, ABOUT_KEY = RESERVED_NAMES


class MsgpackBinarySerializer:
    """Writes each event as one msgpack map."""

    def __init__(self, parameters: MsgpackBinarySerializerParameters) -> None:
        self._fields = parameters.fields

    def serialize(self, batch: Batch) -> Message:
        """Make one map of a batch of one event.

        Raises:
            BadInputError: the batch holds several events, or an array cannot be carried.
        """
        if len(batch) != 1:
            raise BadInputError(
                f"a msgpack message carries one event, the batch has {len(batch)}",
                mend="set batch_size: 1 in processing_pipeline",
            )
        content: dict[str, Any] = {EVENT_ID_KEY: int(batch.event_ids[0])}
        arrays: dict[str, tuple[str, str, tuple[int, ...]]] = {}
        for source, key, column in select_fields(batch, self._fields):
            value = column[0]
            arrays[key] = (source, column.dtype.str, value.shape)
            outer, inner = split_key(key)
            target = content.setdefault(outer, {}) if inner else content
            target[inner or outer] = _encode(source, np.asarray(value), nested=bool(inner))
        content[ABOUT_KEY] = {
            "format_version": FORMAT_VERSION,
            "run": batch.run,
            "rank": batch.rank,
            "sequence": batch.sequence,
            "arrays": arrays,
        }
        packed: bytes = msgpack.packb(_longest_keys_first(content))  # pyright: ignore[reportAssignmentType]
        return message_of(batch, packed)


def split_key(key: str) -> tuple[str, str]:
    """The outer and the inner key of ``peak_list/fs``; a path from the root is one key."""
    if key.startswith("/"):
        return key, ""
    outer, _, inner = key.partition("/")
    return outer, inner


def _longest_keys_first(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: content[key] for key in sorted(content, key=lambda key: (-len(key), key))}


def _encode(source: str, value: Array, *, nested: bool) -> Any:
    if value.dtype.kind not in "biufUS" or (value.ndim > 1 and value.dtype.kind in "US"):
        raise BadInputError(
            f"msgpack for CrystFEL cannot carry data source {source!r} of type {value.dtype}",
            mend="give the data source a numeric dtype, or leave it out of 'fields'",
        )
    if value.ndim > 1:
        image = _as_crystfel_type(source, value)
        slab = (math.prod(image.shape[:-1]), image.shape[-1])
        return {"type": image.dtype.str, "shape": slab, "data": image.tobytes()}
    if value.dtype.kind == "S":
        value = _as_text(source, value)
    elif value.dtype.kind == "b":
        value = value.astype(np.int32)  # CrystFEL does not know truth values
    if nested and value.ndim and value.dtype.kind in "iu":
        value = value.astype(np.float64)
    return value.tolist()


def _as_text(source: str, value: Array) -> Array:
    try:
        return np.char.decode(value, "utf-8")  # pyright: ignore[reportArgumentType, reportReturnType]
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"data source {source!r} has bytes that are no UTF-8 text: {error}",
            mend="give the data source a numeric dtype, or leave it out of 'fields'",
        ) from error


def _as_crystfel_type(source: str, image: Array) -> Array:
    """Convert to float32 or int32: exactly where integers fit, float64 loses its excess digits."""
    if image.dtype.kind == "f":
        return np.ascontiguousarray(image, dtype="<f4")
    limits = np.iinfo(np.int32)
    if image.size and image.dtype.kind in "iu":
        low, high = int(image.min()), int(image.max())  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
        if low < limits.min or high > limits.max:
            raise BadInputError(
                f"data source {source!r} has values from {low} to {high}, CrystFEL reads 32 bits",
                mend="give the data source dtype float32",
            )
    return np.ascontiguousarray(image, dtype="<i4")


def read_msgpack(payload: bytes | bytearray | memoryview) -> Batch:
    """Read a msgpack message; types and shapes are those from before the conversions.

    Raises:
        BadInputError: the bytes are no msgpack message of this project.
    """
    try:
        content = msgpack.unpackb(payload)
        about = content[ABOUT_KEY]
        check_format_version(about["format_version"])
        data = {
            source: _decode(content, key, np.dtype(dtype)).reshape(1, *shape)
            for key, (source, dtype, shape) in about["arrays"].items()
        }
        return Batch(
            data=data,
            event_ids=np.array([content[EVENT_ID_KEY]], dtype=np.uint64),
            run=about["run"],
            rank=about["rank"],
            sequence=about["sequence"],
        )
    except (KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise BadInputError(
            f"this is no complete msgpack message of lclstreamer: {error}",
            mend="it was written by another program, or damaged on its way",
        ) from error


def _decode(content: Mapping[str, Any], key: str, dtype: np.dtype[Any]) -> Array:
    outer, inner = split_key(key)
    value = content[outer][inner] if inner else content[outer]
    if isinstance(value, dict):
        return np.frombuffer(value["data"], dtype=value["type"]).astype(dtype)
    if dtype.kind == "S":
        return np.char.encode(np.array(value, dtype="U"), "utf-8").astype(dtype)
    return np.array(value, dtype=dtype)  # at once: numpy makes floats of mixed large integers
