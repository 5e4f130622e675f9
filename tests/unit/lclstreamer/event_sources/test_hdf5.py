"""Replay of HDF5 files."""

from __future__ import annotations

import h5py
import hdf5plugin
import numpy as np
import pytest

from lclstreamer.core.errors import BadInputError, ConfigurationError
from lclstreamer.core.events import Batch
from lclstreamer.data_sources import hdf5 as dataset_module
from lclstreamer.data_sources.base import Extractor
from lclstreamer.event_sources.base import SourceSetup, StopFlag
from lclstreamer.event_sources.hdf5 import Hdf5EventSource, find_files
from lclstreamer.mpi import RankContext
from lclstreamer.parameters.configuration import parse_configuration
from lclstreamer.parameters.data_sources import Hdf5DatasetParameters
from lclstreamer.parameters.event_sources import Hdf5EventSourceParameters
from lclstreamer.registry import find_class


def dataset(path, **more):
    return Hdf5DatasetParameters(type="Hdf5Dataset", path=path, **more)


def source(identifier, sources, rank=0, size=1, limit=None, stop=None, **parameters):
    setup = SourceSetup(
        str(identifier),
        Extractor(sources, lambda parameters: find_class("data_source", parameters.type)),
        RankContext(rank, size, "PMI_RANK"),
        limit,
        stop or StopFlag(),
    )
    return Hdf5EventSource(Hdf5EventSourceParameters(type="Hdf5EventSource", **parameters), setup)


def read(*arguments, **more):
    return list(source(*arguments, **more).events())


@pytest.fixture
def run(tmp_path):
    """Three files of 7, 1 and 12 events, in the manner of CXI."""
    first = 0
    for number, count in enumerate((7, 1, 12)):
        with h5py.File(tmp_path / f"run{number}.h5", "w") as file:
            numbers = np.arange(first, first + count)
            file["entry_1/data_1/data"] = numbers[:, None, None] * np.ones((1, 3, 4), "u2")
            file["LCLS/timestamp"] = (numbers + 2**62).astype("u8")
            file["LCLS/seconds"] = numbers * 0.5
            file["LCLS/name"] = [f"shot {n}" for n in numbers]
            file["mask"] = np.eye(3)
            first += count
    return tmp_path


FRAMES = {"frames": dataset("/entry_1/data_1/data")}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 30])
def test_the_ranks_share_the_events_in_consecutive_blocks(run, size):
    shares = [read(run / "run*.h5", FRAMES, rank, size) for rank in range(size)]
    events = [event for share in shares for event in share]
    assert [event.event_id for event in events] == list(range(20))
    assert [int(event.data["frames"][1, 2]) for event in events] == list(range(20))


def test_event_ids_from_a_dataset_are_exact(run):
    events = read(run / "run*.h5", FRAMES, event_id_dataset="/LCLS/timestamp")
    assert [event.event_id for event in events] == [number + 2**62 for number in range(20)]


def test_files_in_the_order_they_are_named(run):
    events = read(f"{run}/run2.h5, {run}/run0.h5", FRAMES, limit=14)
    assert [int(event.data["frames"][0, 0]) for event in events] == [*range(8, 20), 0, 1]


def test_text_masks_and_conversion(run):
    sources = {
        "name": dataset("/LCLS/name"),
        "mask": dataset("/mask", per_event=False, dtype="uint8"),
        "frames": dataset("/entry_1/data_1/data", dtype="float32"),
    }
    event = read(run / "run2.h5", sources)[3]
    assert str(event.data["name"]) == "shot 11"
    np.testing.assert_array_equal(event.data["mask"], np.eye(3, dtype=np.uint8))
    assert event.data["frames"].dtype == np.float32


def test_reading_ahead_in_small_blocks_gives_the_same(run, monkeypatch):
    whole = [event.data["frames"] for event in read(run / "run*.h5", FRAMES)]
    monkeypatch.setattr(dataset_module, "READ_AHEAD_BYTES", 60)
    blocks = [event.data["frames"] for event in read(run / "run*.h5", FRAMES)]
    np.testing.assert_array_equal(whole, blocks)


def test_a_file_without_the_dataset_gives_incomplete_events(run):
    with h5py.File(run / "run1.h5", "a") as file:
        del file["mask"], file["LCLS/seconds"]
    sources = {
        **FRAMES,
        "seconds": dataset("/LCLS/seconds"),
        "m": dataset("/mask", per_event=False),
    }
    events = read(run / "run*.h5", sources)
    assert [event.event_id for event in events if event.data["seconds"] is None] == [7]
    assert [event.event_id for event in events if event.data["m"] is None] == [7]


def test_a_shorter_dataset_ends_early(run):
    with h5py.File(run / "run0.h5", "a") as file:
        file["short"] = np.arange(3)
    events = read(run / "run0.h5", {**FRAMES, "short": dataset("/short")})
    assert [event.data["short"] is None for event in events] == [False] * 3 + [True] * 4


def test_our_own_files_keep_their_event_ids(tmp_path):
    text = (
        "{source_identifier: '', skip_incomplete_events: true, event_source: {type: "
        "InternalEventSource, number_of_events_to_generate: 1}, data_sources: {a: {type: EventId}},"
        "processing_pipeline: {type: NoOpProcessingPipeline}, data_serializer: {type: "
        "Hdf5Serializer, compression: bitshuffle_with_lz4}, data_handlers: []}"
    )
    parameters = parse_configuration(text).data_serializer
    ids = np.array([2**63 + 5, 7], dtype=np.uint64)
    frames = np.arange(12.0).reshape(2, 6)
    batch = Batch({"a": frames}, ids, run="r", rank=0, sequence=0)
    message = find_class("serializer", parameters.type)(parameters).serialize(batch)
    (tmp_path / "ours.h5").write_bytes(bytes(message.payload))
    events = read(tmp_path / "ours.h5", {"a": dataset("/a")})
    assert [event.event_id for event in events] == ids.tolist()
    np.testing.assert_array_equal([event.data["a"] for event in events], frames)


def test_compressed_files_of_others(tmp_path):
    frames = np.random.default_rng(0).integers(0, 99, (5, 64, 64)).astype("u2")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("d", data=frames, chunks=(1, 64, 64), **hdf5plugin.Bitshuffle())
    events = read(tmp_path / "c.h5", {"d": dataset("d")}, 1, 2)
    np.testing.assert_array_equal([event.data["d"] for event in events], frames[2:])


def test_it_stops_when_asked(run):
    stop = StopFlag()
    events = source(run / "run*.h5", FRAMES, stop=stop).events()
    next(events)
    stop.set()
    assert list(events) == []


@pytest.mark.parametrize(
    ("sources", "parameters", "words"),
    [
        ({"x": dataset("/nothing")}, {}, "no dataset /nothing: it has /LCLS/name"),
        (FRAMES, {"event_id_dataset": "/ids"}, "no dataset /ids"),
        ({"m": dataset("/mask", per_event=False)}, {}, "how many events"),
    ],
)
def test_a_wrong_path_is_said_at_the_start(run, sources, parameters, words):
    with pytest.raises(ConfigurationError, match=words):
        source(run / "run0.h5", sources, **parameters)


def test_event_ids_must_be_integers(run):
    with pytest.raises(BadInputError, match="cannot identify events exactly"):
        read(run / "run0.h5", FRAMES, event_id_dataset="/LCLS/seconds")


def test_files_that_are_not_there_or_not_hdf5(run):
    with pytest.raises(BadInputError, match="no file is called"):
        find_files(f"{run}/other*.h5")
    (run / "text.h5").write_text("no HDF5")
    with pytest.raises(BadInputError, match="cannot be read as HDF5"):
        source(run / "text.h5", FRAMES)
