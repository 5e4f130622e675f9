import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as arrays_of

from lclstreamer.core.errors import BadInputError
from lclstreamer.parameters.serializers import NumpyBinarySerializerParameters
from lclstreamer.serializers.npz import NumpyBinarySerializer, read_npz


def serialize(batch, **parameters):
    return NumpyBinarySerializer(
        NumpyBinarySerializerParameters(type="NumpyBinarySerializer", **parameters)
    ).serialize(batch)


event_arrays = arrays_of.arrays(
    arrays_of.scalar_dtypes(),
    arrays_of.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(array=event_arrays)
def test_any_array_survives(array, make_batch, same_batch):
    batch = make_batch({"a": array})
    same_batch(read_npz(serialize(batch, use_compression=False).payload), batch)


def test_numpy_alone_reads_it(make_batch):
    batch = make_batch({"detector_data": np.ones((2, 1, 4, 4), np.float32), "file": np.arange(2)})
    message = serialize(batch)
    with np.load(io.BytesIO(message.payload)) as archive:
        assert set(archive) == {"detector_data", "file", "event_id", "lclstreamer"}
        assert archive["detector_data"].shape == (2, 1, 4, 4)
        assert archive["event_id"].tolist() == batch.event_ids.tolist()
        about = json.loads(str(archive["lclstreamer"]))
    assert (about["run"], about["rank"], about["sequence"]) == ("exp=tstx00417,run=7", 2, 5)
    assert message.events == 2


def test_compression_makes_it_smaller(make_batch):
    batch = make_batch({"a": np.zeros((10, 100), np.uint16)})
    assert serialize(batch).size_bytes < serialize(batch, use_compression=False).size_bytes / 2


def test_fields_rename_and_leave_out(make_batch, same_batch):
    batch = make_batch({"image": np.ones((2, 3)), "other": np.ones(2)})
    message = serialize(batch, fields={"image": "detector_data"})
    same_batch(read_npz(message.payload), batch, names={"image"})
    with np.load(io.BytesIO(message.payload)) as archive:
        assert "detector_data" in archive


def test_equal_batches_are_equal_bytes(make_batch):
    one, other = (serialize(make_batch({"a": np.arange(5)})) for _ in range(2))
    assert bytes(one.payload) == bytes(other.payload)


def test_objects_are_neither_written_nor_read(make_batch):
    """Reading them would run the sender's code."""
    with pytest.raises(BadInputError, match="cannot hold 'a'"):
        serialize(make_batch({"a": np.array([{}, []], dtype=object)}))
    image = io.BytesIO()
    np.savez(image, lclstreamer=np.array({}, dtype=object))
    with pytest.raises(BadInputError, match="no complete npz message"):
        read_npz(image.getvalue())


@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_a_truncated_message_is_refused(part, make_batch):
    payload = bytes(serialize(make_batch({"a": np.arange(5000)})).payload)
    with pytest.raises(BadInputError, match="no complete npz message"):
        read_npz(payload[: int(len(payload) * part)])
