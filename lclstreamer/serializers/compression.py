"""How an HDF5 dataset is chunked and compressed."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lclstreamer.parameters.serializers import Hdf5SerializerParameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

# It reports every dataset that zfp compresses, thousands of times a second.
logging.getLogger("hdf5plugin").setLevel(logging.WARNING)

CHUNK_BYTES = 2**20
"""Chunks hold as many whole events as fit in this many bytes, at least one."""

LARGEST_CHUNK_BYTES = 2**26
"""A chunk of one event above this size is cut along its leading dimensions."""

ZFP_DIMENSIONS = 3
"""zfp compresses blocks of up to four dimensions; beyond three they have nothing in common."""


def storage_of(parameters: Hdf5SerializerParameters, array: Array) -> dict[str, Any]:
    """The arguments of h5py's ``create_dataset`` that lay out and compress an array."""
    if parameters.compression is None or array.size == 0:
        return {}
    compression = parameters.compression
    if compression == "zfp" and not _suits_zfp(array):
        compression = "bitshuffle_with_lz4"
    chunks = chunk_shape(
        array.shape, array.itemsize, dimensions=ZFP_DIMENSIONS if compression == "zfp" else None
    )
    return {"chunks": chunks, **_filter(compression, parameters, array)}


def chunk_shape(
    shape: tuple[int, ...], item_bytes: int, *, dimensions: int | None = None
) -> tuple[int, ...]:
    """Chunks of whole events, cut further where they are too large or have too many dimensions.

    Args:
        shape: (events, …), nothing in it zero.
        item_bytes: the size of one element.
        dimensions: how many dimensions of a chunk may be larger than 1.
    """
    event_bytes = item_bytes * math.prod(shape[1:])
    events = max(1, min(shape[0], CHUNK_BYTES // event_bytes))
    chunk = [events, *shape[1:]]
    for axis in range(len(chunk)):
        too_large = item_bytes * math.prod(chunk) > LARGEST_CHUNK_BYTES
        too_many = dimensions is not None and sum(side > 1 for side in chunk) > dimensions
        if not too_large and not too_many:
            break
        chunk[axis] = 1
    return tuple(chunk)


def zfp_bits(level: int) -> int:
    """How many bits of each value (more precisely: bit planes of each block) a level keeps."""
    return 26 - 2 * level


def _suits_zfp(array: Array) -> bool:
    # zfp takes the bytes of integers for something else and corrupts them without a word.
    return array.dtype in {np.dtype(np.float32), np.dtype(np.float64)}


def _filter(name: str, parameters: Hdf5SerializerParameters, array: Array) -> dict[str, Any]:
    import hdf5plugin

    level = parameters.compression_level
    match name:
        case "gzip" | "gzip_with_shuffle":
            shuffle = name == "gzip_with_shuffle"
            return {"compression": "gzip", "compression_opts": level, "shuffle": shuffle}
        case "bitshuffle_with_lz4":
            return dict(hdf5plugin.Bitshuffle(cname="lz4"))
        case "bitshuffle_with_zstd":
            return dict(hdf5plugin.Bitshuffle(cname="zstd", clevel=level or 3))
        case _:
            return dict(_zfp(parameters, array))


def _zfp(parameters: Hdf5SerializerParameters, array: Array) -> Any:
    import hdf5plugin

    # A NaN or an infinity ruins the whole block of values around it unless zfp works losslessly.
    if not np.isfinite(array).all():
        return hdf5plugin.Zfp(reversible=True)
    if parameters.compression_tolerance is not None:
        return hdf5plugin.Zfp(accuracy=parameters.compression_tolerance)
    if parameters.compression_level == 0:
        return hdf5plugin.Zfp(reversible=True)
    return hdf5plugin.Zfp(precision=zfp_bits(parameters.compression_level))
