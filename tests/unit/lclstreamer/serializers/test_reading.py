import numpy as np
import pytest
from pydantic import TypeAdapter

from lclstreamer.core.errors import BadInputError, ConfigurationError
from lclstreamer.parameters.serializers import (
    DataSerializerParameters,
    SimplonBinarySerializerParameters,
)
from lclstreamer.serializers.hdf5 import Hdf5Serializer
from lclstreamer.serializers.msgpack import MsgpackBinarySerializer
from lclstreamer.serializers.npz import NumpyBinarySerializer
from lclstreamer.serializers.reading import format_of, read_message
from lclstreamer.serializers.simplon import SimplonBinarySerializer

KINDS = {
    "hdf5": (Hdf5Serializer, {"type": "Hdf5Serializer", "compression": "bitshuffle_with_lz4"}),
    "npz": (NumpyBinarySerializer, {"type": "NumpyBinarySerializer"}),
    "msgpack": (MsgpackBinarySerializer, {"type": "MsgpackBinarySerializer"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_the_bytes_tell_their_format(kind, buffer, make_batch, same_batch):
    serializer, values = KINDS[kind]
    parameters = TypeAdapter(DataSerializerParameters).validate_python(values)
    batch = make_batch({"image": np.arange(12, dtype=np.int32).reshape(1, 3, 4)})
    payload = buffer(serializer(parameters).serialize(batch).payload)
    assert format_of(payload) == kind
    same_batch(read_message(payload), batch)


@pytest.mark.parametrize("payload", [b"", b"\0" * 100, b"simplon", b"c\xa0"])
def test_anything_else_is_refused(payload):
    assert format_of(payload) is None
    with pytest.raises(BadInputError, match="no known format"):
        read_message(payload)


def test_simplon_says_that_it_comes_later():
    parameters = SimplonBinarySerializerParameters(
        type="SimplonBinarySerializer",
        data_source_to_serialize="detector_data",
        polarization_fraction=0.99,
        polarization_axis=(0, 1, 0),
        data_collection_rate="120 Hz",
        detector_name="jungfrau",
        detector_type="AreaDetector",
    )
    with pytest.raises(ConfigurationError, match="not part of this version yet") as caught:
        SimplonBinarySerializer(parameters)
    assert "Hdf5Serializer" in caught.value.mend
