import io

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lclstreamer.core.events import Batch
from lclstreamer.parameters.serializers import Hdf5SerializerParameters
from lclstreamer.serializers.hdf5 import Hdf5Serializer, read_hdf5
from lclstreamer.serializers.hdf5_template import KEPT_TEMPLATES, MARKED_SEQUENCE

PARAMETERS = Hdf5SerializerParameters(type="Hdf5Serializer")


def batch_of(sequence, count=3, dtype="u2", text="abc", run="r"):
    rng = np.random.default_rng(sequence)
    data = {
        "image": rng.integers(0, 200, (count, 4, 5)).astype(dtype),
        "energy": rng.normal(9500, 1, count),
        "is_on": rng.integers(0, 2, count).astype(bool),
        "label": np.array([f"{text}{n}" for n in range(count)]),
        "raw": np.array([f"{text}{n}".encode() for n in range(count)]),
        "empty": np.zeros((count, 0)),
    }
    ids = rng.integers(0, 2**63, count, dtype=np.uint64)
    return Batch(data, ids, run, 4, sequence)


def plain(batch):
    """What h5py makes of a batch: a fresh serializer knows no template."""
    return bytes(Hdf5Serializer(PARAMETERS).serialize(batch).payload)


@pytest.fixture
def written_by_h5py(monkeypatch):
    """The sequence numbers for which h5py was asked to write a file."""
    numbers = []
    write = Hdf5Serializer._write_image

    def counted(self, batch, placed, **options):
        numbers.append(batch.sequence)
        return write(self, batch, placed, **options)

    monkeypatch.setattr(Hdf5Serializer, "_write_image", counted)
    return numbers


def test_h5py_is_asked_for_the_first_batch_and_the_template(written_by_h5py):
    serializer = Hdf5Serializer(PARAMETERS)
    messages = [serializer.serialize(batch_of(n)) for n in range(6)]
    assert written_by_h5py == [0, MARKED_SEQUENCE]
    for number, message in enumerate(messages):
        assert bytes(message.payload) == plain(batch_of(number))


def test_what_a_template_makes_reads_like_any_other(same_batch):
    serializer = Hdf5Serializer(PARAMETERS)
    for number in range(5):
        batch = batch_of(number)
        same_batch(read_hdf5(serializer.serialize(batch).payload), batch)


changes = st.fixed_dictionaries(
    {
        "count": st.integers(1, 3),
        "dtype": st.sampled_from(["u2", "i2", "f4", ">f4"]),
        "text": st.sampled_from(["", "abc", "é", "a long text"]),
        "run": st.sampled_from(["exp=a,run=1", "exp=a,run=2"]),
    }
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kinds=st.lists(changes, max_size=25))
def test_whatever_changes_the_file_is_what_h5py_writes(kinds):
    serializer = Hdf5Serializer(PARAMETERS)
    for number, kind in enumerate(kinds):
        batch = batch_of(number, **kind)
        assert bytes(serializer.serialize(batch).payload) == plain(batch)


def test_an_image_that_is_still_in_use_is_not_overwritten():
    serializer = Hdf5Serializer(PARAMETERS)
    kept = [serializer.serialize(batch_of(n)) for n in range(20)]
    views = [np.frombuffer(message.payload, np.uint8)[100:] for message in kept]
    expected = [plain(batch_of(n)) for n in range(20)]
    del kept
    for n in range(20, 40):
        serializer.serialize(batch_of(n))
    assert [bytes(view) for view in views] == [image[100:] for image in expected]


def test_memory_that_is_free_again_is_used_again():
    serializer = Hdf5Serializer(PARAMETERS)
    addresses = set()
    for number in range(20):
        payload = serializer.serialize(batch_of(number)).payload
        if number > 2:
            addresses.add(np.frombuffer(payload, np.uint8).ctypes.data)
        del payload
    assert len(addresses) == 1


def test_an_array_that_looks_like_the_marker_does_no_harm(same_batch):
    serializer = Hdf5Serializer(PARAMETERS)
    for number in range(5):
        data = {"odd": np.full((2, 3), MARKED_SEQUENCE, np.int64)}
        batch = Batch(data, np.arange(2, dtype=np.uint64), "r", 0, number)
        same_batch(read_hdf5(serializer.serialize(batch).payload), batch)


def test_the_memory_for_templates_is_bounded():
    serializer = Hdf5Serializer(PARAMETERS)
    for number in range(5 * KEPT_TEMPLATES):
        serializer.serialize(batch_of(number, text="x" * (number % 17)))
    assert len(serializer._templates._templates) <= KEPT_TEMPLATES


def test_arrays_that_are_not_in_one_piece_are_copied_right(same_batch):
    serializer = Hdf5Serializer(PARAMETERS)
    for number in range(4):
        image = np.arange(number, number + 48).reshape(2, 4, 6)[:, ::2, ::-1]
        batch = Batch({"image": image}, np.arange(2, dtype=np.uint64), "r", 0, number)
        same_batch(read_hdf5(serializer.serialize(batch).payload), batch)


def test_messages_cannot_be_changed_by_who_gets_them():
    payload = Hdf5Serializer(PARAMETERS).serialize(batch_of(0)).payload
    assert memoryview(payload).readonly
    with h5py.File(io.BytesIO(payload), "r") as file:
        assert file.attrs["sequence"] == 0
