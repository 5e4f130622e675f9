"""Compressed files made from a skeleton hold what h5py would have written in one go."""

import io

import h5py
import hdf5plugin  # noqa: F401  (registers the filters)
import numpy as np
import pytest

from lclstreamer.core.events import Batch
from lclstreamer.parameters.serializers import HIGHEST_LEVEL, Hdf5SerializerParameters
from lclstreamer.serializers.hdf5 import Hdf5Serializer, read_hdf5
from lclstreamer.serializers.hdf5_template import MARKED_SEQUENCE


def serializer_of(compression):
    parameters = {"type": "Hdf5Serializer", "compression": compression, "compression_level": 0}
    return Hdf5Serializer(Hdf5SerializerParameters.model_validate(parameters))


def batch_of(sequence, count=3, dtype="u2", text="abc", ruin=False):
    rng = np.random.default_rng(sequence)
    floats = rng.normal(9500, 1, (count, 8, 8)).astype("f4")
    if ruin:
        floats[0, 0, 0] = np.nan
    data = {
        "image": rng.integers(0, 200, (count, 16, 16)).astype(dtype),
        "part": rng.integers(0, 200, (count, 4, 6))[:, ::2, ::-1],
        "floats": floats,
        "label": np.array([f"{text}é{n}" for n in range(count)]),
        "empty": np.zeros((count, 0)),
    }
    return Batch(data, rng.integers(0, 2**63, count, dtype=np.uint64), "r", 4, sequence)


def facts_of(payload):
    """Everything in a file: the attributes, and how and what each dataset holds."""
    found = {}
    with h5py.File(io.BytesIO(payload), "r") as file:
        found["/"] = dict(file.attrs)

        def collect(path, item):
            if isinstance(item, h5py.Dataset):
                filters = item.id.get_create_plist().get_nfilters()
                layout = (item.shape, item.dtype, item.chunks, filters, dict(item.attrs))
                found[path] = (layout, item[...].tobytes())

        file.visititems(collect)
    return found


@pytest.mark.parametrize("compression", HIGHEST_LEVEL)
def test_a_skeleton_holds_what_h5py_writes(compression, same_batch):
    serializer = serializer_of(compression)
    kinds = [{}, {"count": 1}, {"dtype": ">f4"}, {"text": "longer"}, {"ruin": True}, {}]
    for number, kind in enumerate(kind for kind in kinds for _ in range(4)):
        batch = batch_of(number, **kind)
        payload = serializer.serialize(batch).payload
        same_batch(read_hdf5(payload), batch)
        alone = serializer_of(compression).serialize(batch).payload
        assert facts_of(payload) == facts_of(alone)
        assert len(payload) <= len(alone) + 256


def test_h5py_is_asked_for_the_first_batch_and_the_skeleton(monkeypatch):
    numbers = []
    write = Hdf5Serializer._write_image

    def counted(self, batch, placed, **options):
        numbers.append((batch.sequence, options.get("is_empty", False)))
        return write(self, batch, placed, **options)

    monkeypatch.setattr(Hdf5Serializer, "_write_image", counted)
    serializer = serializer_of("bitshuffle_with_lz4")
    payloads = [serializer.serialize(batch_of(n)).payload for n in range(6)]
    assert numbers == [(0, False), (MARKED_SEQUENCE, True)]
    assert all(memoryview(payload).readonly for payload in payloads)


def test_a_run_whose_name_looks_like_the_marker_does_no_harm(same_batch):
    serializer = serializer_of("gzip")
    run = MARKED_SEQUENCE.to_bytes(8, "little").decode("latin-1")
    for number in range(4):
        batch = Batch(batch_of(number).data, np.arange(3, dtype=np.uint64), run, 0, number)
        same_batch(read_hdf5(serializer.serialize(batch).payload), batch)
