import io

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from lclstreamer.core.errors import BadInputError
from lclstreamer.parameters.serializers import HIGHEST_LEVEL, Hdf5SerializerParameters
from lclstreamer.serializers.hdf5 import Hdf5Serializer, read_hdf5

assert hdf5plugin  # registers the filters for the tests that open messages with h5py alone
LOSSLESS = [None, "gzip", "gzip_with_shuffle", "bitshuffle_with_lz4", "bitshuffle_with_zstd"]
LEAVE_FIXTURES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def serialize(batch, **parameters):
    return Hdf5Serializer(Hdf5SerializerParameters(type="Hdf5Serializer", **parameters)).serialize(
        batch
    )


def opened(message):
    return h5py.File(io.BytesIO(message.payload), "r")


def typical(count=4):
    rng = np.random.default_rng(3)
    return {
        "timestamp": np.arange(count, dtype=np.uint64) + 2**63,
        "image": rng.poisson(5, (count, 2, 16, 32)).astype(np.uint16),
        "calibrated": rng.normal(0, 1, (count, 16, 32)).astype(np.float32),
        "energy": rng.normal(9500, 1, count),
        "counts": rng.poisson(5, (count, 8)).astype(np.int64),
        "is_laser_on": np.arange(count) % 2 == 0,
        "label": np.array(["dark", "é", "", "longer label"][:count]),
        "raw": np.array([b"ab", b"c", b"", b"def"][:count]),
        "spectrum": rng.normal(0, 1, (count, 5)).astype(np.complex64),
        "nothing": np.zeros((count, 0), np.float32),
    }


@pytest.mark.parametrize("compression", LOSSLESS)
def test_every_type_survives(compression, make_batch, same_batch):
    batch = make_batch(typical())
    same_batch(read_hdf5(serialize(batch, compression=compression).payload), batch)


values = st.one_of(
    arrays_of.integer_dtypes(),
    arrays_of.unsigned_integer_dtypes(),
    arrays_of.floating_dtypes(sizes=(16, 32, 64)),
    arrays_of.complex_number_dtypes(sizes=(64, 128)),
    arrays_of.boolean_dtypes(),
    arrays_of.unicode_string_dtypes(max_len=9),
    arrays_of.byte_string_dtypes(max_len=9),
)
event_arrays = arrays_of.arrays(
    values, arrays_of.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=5)
)


@LEAVE_FIXTURES
@given(array=event_arrays, compression=st.sampled_from([*LOSSLESS]))
def test_any_array_survives(array, compression, make_batch, same_batch):
    batch = make_batch({"a": array})
    same_batch(read_hdf5(serialize(batch, compression=compression).payload), batch)


@LEAVE_FIXTURES
@given(
    array=arrays_of.arrays(
        st.sampled_from([np.dtype("f4"), np.dtype("f8")]),
        arrays_of.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=6),
        elements=st.integers(-(2**40), 2**40).map(lambda n: float(np.float32(n / 2**20))),
    ),
    level=st.integers(0, 9),
)
def test_zfp_stays_within_its_documented_tolerance(array, level, make_batch):
    message = serialize(make_batch({"a": array}), compression="zfp", compression_level=level)
    read = read_hdf5(message.payload).data["a"]
    assert read.dtype == array.dtype
    bound = 0 if level == 0 else 2.0 ** (8 - (26 - 2 * level)) * np.abs(array).max()
    assert np.abs(read.astype("f8") - array).max() <= bound


def test_zfp_keeps_a_given_tolerance(make_batch):
    image = np.random.default_rng(1).normal(0, 50, (2, 64, 64)).astype(np.float32)
    message = serialize(make_batch({"a": image}), compression="zfp", compression_tolerance=0.5)
    assert 0 < np.abs(read_hdf5(message.payload).data["a"] - image).max() <= 0.5


@pytest.mark.parametrize("dtype", ["i1", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "?", ">f4"])
def test_zfp_leaves_what_it_would_corrupt_to_a_lossless_filter(dtype, make_batch, same_batch):
    """Upstream's zfp turns int32 and int64 into other numbers and crashes on uint16."""
    array = np.random.default_rng(1).poisson(5, (3, 20, 20)).astype(dtype)
    batch = make_batch({"a": array, "label": np.array(["a", "bc", "def"])})
    message = serialize(batch, compression="zfp", compression_level=9)
    same_batch(read_hdf5(message.payload), batch)
    with opened(message) as file:
        assert "32008" in file["a"]._filters  # bitshuffle


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_zfp_is_lossless_where_masked_pixels_would_ruin_their_neighbours(
    bad, make_batch, same_batch
):
    image = np.random.default_rng(1).normal(0, 1, (2, 16, 16)).astype(np.float32)
    image[1, 3, 3] = bad
    batch = make_batch({"a": image})
    message = serialize(batch, compression="zfp", compression_level=5)
    same_batch(read_hdf5(message.payload), batch)


def test_a_higher_level_is_smaller(make_batch):
    rng = np.random.default_rng(1)
    batch = make_batch({"a": rng.normal(0, 100, (4, 64, 64)).astype(np.float32)})
    sizes = [
        serialize(batch, compression="zfp", compression_level=n).size_bytes for n in (0, 1, 5, 9)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 3
    batch = make_batch({"a": rng.poisson(3, (4, 64, 64)).astype(np.uint16)})
    fast, small = (
        serialize(batch, compression="gzip", compression_level=n).size_bytes for n in (1, 9)
    )
    assert small < fast


@pytest.mark.parametrize("compression", [*HIGHEST_LEVEL])
def test_compression_is_really_applied(compression, make_batch):
    batch = make_batch({"a": np.zeros((4, 64, 64), np.float32)})
    assert serialize(batch, compression=compression).size_bytes < batch.data["a"].nbytes / 2


def test_who_made_it_stands_in_the_attributes(make_batch):
    message = serialize(make_batch(typical(), run="exp=é,run=1", rank=3, sequence=8))
    assert (message.rank, message.sequence, message.events) == (3, 8, 4)
    with opened(message) as file:
        about = dict(file.attrs)
        ids = file["/LCLS/event_id"][...]
    assert about == {
        "format": "lclstreamer", "format_version": 1, "run": "exp=é,run=1", "rank": 3,
        "sequence": 8, "events": 4,
    }  # fmt: skip
    assert ids.dtype == np.uint64
    assert ids[0] == 4776162079372773723


def test_fields_name_the_datasets_and_leave_out_the_rest(make_batch, same_batch):
    """Upstream exits at a data source that is not listed; its pages promise to leave it out."""
    batch = make_batch(typical())
    fields = {"image": "data//pixels", "timestamp": "/data/timestamp", "absent": "/data/absent"}
    message = serialize(batch, fields=fields)
    same_batch(read_hdf5(message.payload), batch, names={"image", "timestamp"})
    with opened(message) as file:
        assert sorted(file["data"]) == ["pixels", "timestamp"]


def test_several_arrays_of_one_data_source_follow_its_path(make_batch):
    batch = make_batch({"det.raw.calib": np.ones((2, 3)), "det.gain": np.zeros(2)})
    message = serialize(batch, fields={"det": "/data/det"})
    with opened(message) as file:
        assert sorted(file["/data/det"]) == ["gain", "raw.calib"]
    assert set(read_hdf5(message.payload).data) == set(batch.data)


def test_without_fields_every_source_is_written_under_its_name(make_batch):
    with opened(serialize(make_batch({"image": np.ones((2, 3)), "det.raw": np.ones(2)}))) as file:
        assert sorted(file) == ["LCLS", "det.raw", "image"]


def test_scalars_do_not_get_a_chunk_each(make_batch):
    """Upstream's chunk per event makes 1000 scalars 7.4 times as large as they are."""
    batch = make_batch({"energy": np.random.default_rng(1).normal(0, 1, 1000)})
    for compression in LOSSLESS:
        message = serialize(batch, compression=compression)
        payload = batch.data["energy"].nbytes + batch.event_ids.nbytes
        assert message.size_bytes < 1.7 * payload
        with opened(message) as file:
            assert file["energy"].chunks in (None, (1000,))


def test_texts_are_readable_by_h5py_alone(make_batch):
    with opened(serialize(make_batch({"t": np.array(["é", "abc"])}))) as file:
        assert file["t"].asstr()[...].tolist() == ["é", "abc"]


def test_a_type_that_hdf5_lacks_is_refused_with_a_mend(make_batch):
    batch = make_batch({"when": np.array(["2026-01-01"], "M8[s]")})
    with pytest.raises(BadInputError, match="'when' of type datetime64"):
        serialize(batch)


def test_a_truncated_message_is_refused(make_batch):
    payload = serialize(make_batch(typical())).payload
    for length in (len(payload) // 2, 100, 8):
        with pytest.raises(BadInputError, match="no complete HDF5 message"):
            read_hdf5(payload[:length])


def test_a_file_of_another_program_is_refused():
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file["/data/data"] = np.ones(3)
    with pytest.raises(BadInputError, match="no complete HDF5 message"):
        read_hdf5(image.getvalue())


def test_a_message_of_a_newer_version_is_refused(make_batch):
    image = io.BytesIO(serialize(make_batch(typical())).payload)
    with h5py.File(image, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(BadInputError, match="format version 2"):
        read_hdf5(image.getvalue())
