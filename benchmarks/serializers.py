"""Serialising speed beside plain h5py, in one run on one machine.

Run it as ``python benchmarks/serializers.py``. Rates count the arrays' bytes; each line shows how
many times as fast as h5py (one file in memory per batch, as HDF5's own driver and as a Python
file object) ours is on the same batch.
"""

from __future__ import annotations

import io
import statistics
import time

import h5py
import numpy as np

from lclstreamer.core.events import Batch
from lclstreamer.parameters.serializers import (
    HIGHEST_LEVEL,
    Hdf5SerializerParameters,
    NumpyBinarySerializerParameters,
)
from lclstreamer.serializers.hdf5 import Hdf5Serializer
from lclstreamer.serializers.npz import NumpyBinarySerializer

SHAPES = {
    "10 x 20x20 f4": ((10, 20, 20), "f4"),
    "1000 x 20 f4": ((1000, 20), "f4"),
    "1 x 1 Mpx u2": ((1, 2, 512, 1024), "u2"),
    "1 x 16 Mpx u2": ((1, 32, 512, 1024), "u2"),
    "4 x 4 Mpx f4": ((4, 8, 512, 1024), "f4"),
}


def make_batch(shape, dtype):
    rng = np.random.default_rng(1)
    data = {
        "image": rng.poisson(20, shape).astype(dtype),
        "timestamp": np.arange(shape[0], dtype=np.uint64),
        "energy": rng.normal(9500, 1, shape[0]),
    }
    return Batch(data, np.arange(shape[0], dtype=np.uint64), "exp=tstx00417,run=1", 0, 0)


def h5py_file_object(batch):
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for name, array in batch.data.items():
            file.create_dataset(f"data/{name}", data=array)
    return image.getbuffer()


def h5py_core_driver(batch):
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        for name, array in batch.data.items():
            file.create_dataset(f"data/{name}", data=array)
        file.flush()
        return file.id.get_file_image()


def rate(work, batch):
    """Bytes of arrays per second: the median of what fits into half a second, at least 5."""
    size = sum(array.nbytes for array in batch.data.values())
    for _ in range(3):
        work(batch)
    seconds, until = [], time.perf_counter() + 0.5
    while len(seconds) < 5 or time.perf_counter() < until:
        start = time.perf_counter()
        work(batch)
        seconds.append(time.perf_counter() - start)
    return size / statistics.median(seconds)


def hdf5(**parameters):
    return Hdf5Serializer(Hdf5SerializerParameters(type="Hdf5Serializer", **parameters)).serialize


def compare_uncompressed():
    titles = ("ours", "h5py file", "h5py core", "times file", "times core")
    print(f"{'batch':16}" + "".join(f"{title:>12}" for title in titles))
    for name, (shape, dtype) in SHAPES.items():
        batch = make_batch(shape, dtype)
        ours, file, core = (
            rate(work, batch) for work in (hdf5(), h5py_file_object, h5py_core_driver)
        )
        rates = "".join(f"{value / 1e6:>7.0f} MB/s" for value in (ours, file, core))
        print(f"{name:16}{rates}{ours / file:>12.1f}{ours / core:>12.1f}")


def compare_formats():
    batch = make_batch((4, 2, 512, 1024), "u2")
    size = sum(array.nbytes for array in batch.data.values())
    plain = rate(h5py_file_object, batch)
    works = {f"hdf5 {name}": hdf5(compression=name) for name in HIGHEST_LEVEL if name != "zfp"}
    for is_compressed in (False, True):
        parameters = NumpyBinarySerializerParameters(
            type="NumpyBinarySerializer", use_compression=is_compressed
        )
        label = "npz deflated" if is_compressed else "npz stored"
        works[label] = NumpyBinarySerializer(parameters).serialize
    print(f"\n{'4 x 1 Mpx u2':32}{'rate':>12}{'times h5py':>12}{'ratio':>8}")
    for name, work in works.items():
        speed = rate(work, batch)
        ratio = size / work(batch).size_bytes
        print(f"{name:32}{speed / 1e6:>7.0f} MB/s{speed / plain:>12.2f}{ratio:>8.2f}")
    floats = make_batch((4, 2, 512, 1024), "f4")
    for level in (0, 3, 6):
        work = hdf5(compression="zfp", compression_level=level)
        ratio = sum(array.nbytes for array in floats.data.values()) / work(floats).size_bytes
        speed = rate(work, floats)
        print(f"{f'hdf5 zfp level {level} (f4)':32}{speed / 1e6:>7.0f} MB/s{'':12}{ratio:>8.2f}")


if __name__ == "__main__":
    compare_uncompressed()
    compare_formats()
