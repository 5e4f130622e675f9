import pytest
from pydantic import TypeAdapter, ValidationError

from lclstreamer.parameters.serializers import HIGHEST_LEVEL, DataSerializerParameters

parse = TypeAdapter(DataSerializerParameters).validate_python
HDF5 = {"type": "Hdf5Serializer"}
SIMPLON = {
    "type": "SimplonBinarySerializer",
    "data_source_to_serialize": "jungfrau.raw.calib",
    "polarization_fraction": 0,
    "polarization_axis": [1.0, 0.0, 0.0],
    "data_collection_rate": "120Hz",
    "detector_name": "jungfrau",
    "detector_type": "AreaDetector",
}


def test_upstreams_keys_are_understood():
    fields = {"timestamp": "/data/timestamp", "hsd": "//waveform", "image": "data/image"}
    hdf5 = parse({**HDF5, "compression": "zfp", "compression_level": 3, "fields": fields})
    assert hdf5.fields == {
        "timestamp": "/data/timestamp", "hsd": "/waveform", "image": "/data/image"
    }  # fmt: skip
    assert parse({**HDF5, "compression": None, "compression_level": 0}).fields is None
    assert parse({"type": "NumpyBinarySerializer", "use_compression": True}).use_compression
    assert parse({"type": "MsgpackBinarySerializer"}).fields is None
    assert parse(SIMPLON).photon_wavelength_source is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"compression": "fzp"}, "'zfp'"),
        ({"compression": "gzip", "compression_level": 10}, "above 9, the highest of gzip"),
        ({"compression": "zfp", "compression_level": 22}, "above 9, the highest of zfp"),
        ({"compression_level": 99}, "less than or equal to 22"),
        ({"compression_level": -1}, "greater than or equal to 0"),
        ({"compression_tolerance": 0.5}, "needs compression: zfp"),
        ({"compression": "zfp", "compression_tolerance": 0}, "greater than 0"),
        ({"fields": {"a": ""}}, "not a path inside an HDF5 file"),
        ({"fields": {"a": "/data/../b"}}, "not a path inside an HDF5 file"),
        ({"fields": {"a": "/data", "b": "/data"}}, "/data of b is in the way of /data of a"),
        ({"fields": {"a": "/data", "b": "/data/b"}}, "in the way of /data of a"),
        ({"fields": {"a": "/data/b", "b": "/data"}}, "in the way of /data/b of a"),
        ({"fields": {"a": "/LCLS"}}, "in the way of /LCLS/event_id of the event ids"),
        ({"fields": ["a"]}, "valid dictionary"),
        ({"field": {}}, "not permitted"),
    ],
)
def test_what_cannot_work_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        parse({**HDF5, **values})


@pytest.mark.parametrize("compression", HIGHEST_LEVEL)
def test_every_compression_takes_its_highest_level(compression):
    level = HIGHEST_LEVEL[compression]
    parameters = parse({**HDF5, "compression": compression, "compression_level": level})
    assert parameters.compression_level == level


@pytest.mark.parametrize("kind", ["NumpyBinarySerializer", "MsgpackBinarySerializer"])
@pytest.mark.parametrize(
    "fields", [{"a": "event_id"}, {"a": "lclstreamer"}, {"a": "x", "b": "x"}, {"a": ""}]
)
def test_names_of_the_message_itself_are_not_given_away(kind, fields):
    with pytest.raises(ValidationError, match=r"in the way|empty"):
        parse({"type": kind, "fields": fields})


@pytest.mark.parametrize(
    "values", [{"polarization_fraction": 1.5}, {"polarization_axis": [1.0, 0.0]}]
)
def test_simplon_numbers_have_bounds(values):
    with pytest.raises(ValidationError):
        parse({**SIMPLON, **values})


@pytest.mark.parametrize(
    "values",
    [
        {**HDF5, "compression": "zfp", "compression_tolerance": 0.5, "fields": {"a": "//b/c"}},
        {"type": "NumpyBinarySerializer", "fields": {"a": "b"}},
        {"type": "MsgpackBinarySerializer", "fields": {"a": "peak_list/fs"}},
        SIMPLON,
    ],
)
def test_what_is_written_out_reads_the_same_again(values):
    parameters = parse(values)
    assert parse(parameters.model_dump(mode="json")) == parameters
