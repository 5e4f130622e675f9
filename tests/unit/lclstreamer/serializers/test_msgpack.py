import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from lclstreamer.core.errors import BadInputError
from lclstreamer.parameters.serializers import MsgpackBinarySerializerParameters
from lclstreamer.serializers.msgpack import MsgpackBinarySerializer, read_msgpack, split_key


def serialize(batch, **parameters):
    return MsgpackBinarySerializer(
        MsgpackBinarySerializerParameters(type="MsgpackBinarySerializer", **parameters)
    ).serialize(batch)


def crystfel_finds(content, wanted):
    """CrystFEL's own comparison: the first key of the message that the wanted name begins with."""
    return next((value for key, value in content.items() if wanted.startswith(key)), None)


def frame(dtype=np.uint16):
    rng = np.random.default_rng(1)
    return {
        "detector": np.array([3]),
        "detector_data": rng.poisson(9, (1, 2, 8, 6)).astype(dtype),
        "detector_distance": np.array([130.5]),
        "beam_energy": np.array([9500.25], np.float32),
        "is_laser_on": np.array([True]),
        "source": np.array(["exp=tstx00417"]),
    }


def test_an_image_is_a_map_of_type_shape_and_data(make_batch):
    batch = make_batch(frame())
    content = msgpack.unpackb(serialize(batch).payload)
    image = content["detector_data"]
    assert image["type"] == "<i4"
    assert image["shape"] == [16, 6]
    pixels = np.frombuffer(image["data"], "<i4").reshape(16, 6)
    np.testing.assert_array_equal(pixels, batch.data["detector_data"].reshape(16, 6))


@pytest.mark.parametrize(
    ("dtype", "sent"),
    [("u1", "<i4"), ("i2", "<i4"), ("i8", "<i4"), ("u4", "<i4"), ("?", "<i4"), (">i4", "<i4"),
     ("f2", "<f4"), ("f4", "<f4"), ("f8", "<f4"), (">f4", "<f4")],
)  # fmt: skip
def test_every_image_is_sent_in_one_of_the_two_types_crystfel_knows(dtype, sent, make_batch):
    batch = make_batch({"image": np.arange(12).reshape(1, 3, 4).astype(dtype)})
    message = serialize(batch)
    assert msgpack.unpackb(message.payload)["image"]["type"] == sent
    read = read_msgpack(message.payload).data["image"]
    assert read.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read, batch.data["image"])


def test_numbers_that_crystfel_cannot_read_are_refused_with_a_mend(make_batch):
    with pytest.raises(BadInputError, match="CrystFEL reads 32 bits") as caught:
        serialize(make_batch({"image": np.full((1, 2, 2), 2**31)}))
    assert "float32" in caught.value.mend


def test_headers_are_plain_values_at_the_top(make_batch):
    content = msgpack.unpackb(serialize(make_batch(frame())).payload)
    assert content["detector_distance"] == 130.5
    assert content["beam_energy"] == 9500.25
    assert content["is_laser_on"] == 1
    assert content["source"] == "exp=tstx00417"
    assert content["event_id"] == 4776162079372773723


def test_a_short_key_does_not_answer_for_a_longer_one(make_batch):
    content = msgpack.unpackb(serialize(make_batch(frame())).payload)
    for key, value in content.items():
        assert crystfel_finds(content, key) is value


@given(keys=st.sets(st.text("ab_/", min_size=1, max_size=4), min_size=1))
def test_whatever_the_keys_each_is_found(keys):
    from lclstreamer.serializers.msgpack import _longest_keys_first

    content = _longest_keys_first({key: key for key in keys})
    assert all(crystfel_finds(content, key) == key for key in keys)


def test_peaks_become_an_inner_map_of_doubles(make_batch):
    peaks = {
        "peak_fs": np.array([[1, 20, 3]]),
        "peak_ss": np.array([[4.5, 5, 6]], np.float32),
        "peak_intensity": np.array([[7, 8, 9]], np.uint16),
    }
    fields = {
        "peak_fs": "peak_list/fs",
        "peak_ss": "peak_list/ss",
        "peak_intensity": "peak_list/intensity",
    }
    message = serialize(make_batch(peaks), fields=fields)
    found = msgpack.unpackb(message.payload)["peak_list"]
    assert found == {"fs": [1, 20, 3], "ss": [4.5, 5, 6], "intensity": [7, 8, 9]}
    assert all(type(number) is float for numbers in found.values() for number in numbers)
    read = read_msgpack(message.payload)
    for name, array in peaks.items():
        np.testing.assert_array_equal(read.data[name], array)
        assert read.data[name].dtype == array.dtype


def test_a_path_as_in_a_geometry_for_hdf5_is_one_key(make_batch):
    message = serialize(make_batch({"energy": np.ones(1)}), fields={"energy": "/LCLS/energy_eV"})
    assert crystfel_finds(msgpack.unpackb(message.payload), "/LCLS/energy_eV") == 1
    assert split_key("/LCLS/energy") == ("/LCLS/energy", "")
    assert split_key("peak_list/fs") == ("peak_list", "fs")
    assert split_key("energy") == ("energy", "")


headers = st.one_of(
    arrays_of.integer_dtypes(endianness="="),
    arrays_of.unsigned_integer_dtypes(endianness="="),
    arrays_of.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
    arrays_of.boolean_dtypes(),
    arrays_of.unicode_string_dtypes(endianness="=", max_len=9),
)
LARGE = np.array([[0, 2**63 + 1]], dtype=np.uint64)
TEXTS = np.array([["é".encode(), b"ab", b""]])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(array=LARGE)
@example(array=TEXTS)
@given(array=arrays_of.arrays(headers, st.sampled_from([(1,), (1, 1), (1, 5), (1, 0)])))
def test_scalars_and_vectors_survive(array, make_batch, same_batch):
    batch = make_batch({"a": array})
    read = read_msgpack(serialize(batch).payload)
    if array.dtype.kind == "f":
        np.testing.assert_array_equal(read.data["a"], array)
        assert read.data["a"].dtype == array.dtype
    else:
        same_batch(read, batch)


def test_several_events_do_not_fit_into_one_message(make_batch):
    with pytest.raises(BadInputError, match="the batch has 2") as caught:
        serialize(make_batch({"a": np.ones((2, 3))}))
    assert "batch_size: 1" in caught.value.mend


@pytest.mark.parametrize("dtype", ["c8", "M8[s]"])
def test_a_type_that_crystfel_lacks_is_refused_with_a_mend(dtype, make_batch):
    with pytest.raises(BadInputError, match="cannot carry data source 'a'"):
        serialize(make_batch({"a": np.zeros((1, 3), dtype)}))


def test_bytes_that_are_no_text_are_refused_with_a_mend(make_batch):
    with pytest.raises(BadInputError, match="no UTF-8 text"):
        serialize(make_batch({"a": np.array([b"\xff\xfe"])}))


def test_a_damaged_message_is_refused(make_batch):
    payload = serialize(make_batch(frame())).payload
    for damaged in (payload[:-10], payload[:20], b"\x80", b"\xc0", msgpack.packb([1, 2])):
        with pytest.raises(BadInputError, match="no complete msgpack message"):
            read_msgpack(damaged)
