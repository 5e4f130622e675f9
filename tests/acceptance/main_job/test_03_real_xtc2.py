"""Recorded xtc2 files stream through every program and come out as psana reads them."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

pytestmark = [pytest.mark.psana, pytest.mark.mpi, pytest.mark.shared_data, pytest.mark.slow]

JUNGFRAU_SUM = 2512706323
JUNGFRAU_SHAPE = (2, 1, 512, 1024)
JUNGFRAU_TIMESTAMPS = [4776162079372773723, 4776162079381031262]

READ_DIRECTLY = """
import json, os, sys
os.environ["PS_PARALLEL"] = "none"
import numpy, psana
from psana.psexp.ds_base import DataSourceBase
DataSourceBase._get_file_info_from_db = lambda self, run: {}
arguments, detector, part, field, target = json.loads(sys.argv[1])
source = psana.DataSource(skip_calib_load="all", log_level="ERROR", **arguments)
run = next(source.runs())
read = getattr(getattr(run.Detector(detector), part), field)
ids, rows = [], []
for event in run.events():
    ids.append(event.timestamp)
    rows.append(read(event))
numpy.savez(target, ids=numpy.array(ids, dtype=numpy.uint64), rows=numpy.stack(rows))
"""


def read_with_psana(
    target: Path, arguments: dict, detector: str, field: str
) -> dict[int, np.ndarray]:
    """Event id → data, by psana alone, in a process of its own."""
    part, _, name = field.partition(".")
    question = json.dumps([arguments, detector, part, name, str(target)])
    subprocess.run(
        [sys.executable, "-c", READ_DIRECTLY, question],
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    with np.load(target) as arrays:
        return dict(zip(arrays["ids"].tolist(), arrays["rows"], strict=True))


class Stream:
    """Three ranks, a buffer and two consumers, each a process."""

    def __init__(self, folder: Path, venv_bin: Path, processes, wait_for) -> None:
        self.folder, self._bin = folder, venv_bin
        self._processes, self._wait_for = processes, wait_for

    def run(
        self, identifier: str, detector: str, field: str, producers: int, batch_size: int
    ) -> None:
        buffer = self._processes.start(
            [
                "nng-stream", "run", "--directory", self.folder / "buffer",
                "--expected-producers", str(producers), "--expected-consumers", "2",
            ]
        )  # fmt: skip
        ready = self.folder / "buffer" / "endpoints.json"
        self._wait_for(ready.exists, what="the buffer")
        endpoints = json.loads(ready.read_text())
        consumers = [
            self._processes.start(
                [
                    "lclstream", "pull", endpoints["outlets"]["nng"], "--json",
                    "-o", self.folder / f"consumer{number}",
                ]
            )
            for number in (0, 1)
        ]  # fmt: skip
        configuration = self._configuration(
            identifier, detector, field, batch_size, endpoints["inlets"]["nng"]
        )
        streamer = self._processes.start(
            [
                self._bin / "mpirun", "-n", "3", "lclstreamer", "-c", configuration,
                "--report", self.folder / "reports",
            ],
            environment={"PATH": f"{self._bin}:/usr/bin:/bin"},
        )  # fmt: skip
        assert streamer.wait(90) == 0, streamer.stderr[-3000:]
        assert buffer.wait(60) == 0, buffer.stderr[-3000:]
        self.ends = []
        for consumer in consumers:
            assert consumer.wait(60) == 0, consumer.stderr[-3000:]
            self.ends.append(json.loads(consumer.stdout.splitlines()[-1]))

    def _configuration(
        self, identifier: str, detector: str, field: str, batch_size: int, inlet: str
    ) -> Path:
        path = self.folder / "run.yaml"
        document = {
            "source_identifier": identifier,
            "skip_incomplete_events": True,
            "event_source": {"type": "Psana2EventSource", "calibration_constants": "skip"},
            "data_sources": {
                "timestamp": {"type": "Psana2Timestamp"},
                "data": {
                    "type": "Psana2DetectorInterface",
                    "psana_name": detector,
                    "psana_fields": field,
                },
            },
            "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": batch_size},
            "data_serializer": {
                "type": "HDF5BinarySerializer",
                "compression": "bitshuffle_with_lz4",
                "fields": {"timestamp": "/data/timestamp", "data": "/data/data"},
            },
            "data_handlers": [
                {"type": "BinaryDataStreamingDataHandler", "urls": [inlet], "library": "nng"}
            ],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def received(self) -> dict[int, np.ndarray]:
        """Event id → data, from the files of both consumers; no event may be there twice."""
        import hdf5plugin

        assert hdf5plugin.FILTERS
        events: dict[int, np.ndarray] = {}
        for path in self.folder.glob("consumer*/*"):
            with h5py.File(path) as file:
                stamps = file["/data/timestamp"][:]
                assert stamps.dtype == np.uint64
                for stamp, data in zip(stamps.tolist(), file["/data/data"][:], strict=True):
                    assert stamp not in events
                    events[stamp] = data
        return events

    def ledger(self) -> dict:
        """What the buffer says went through it."""
        return json.loads((self.folder / "buffer" / "ledger.json").read_text())


@pytest.fixture
def stream(tmp_path, venv_bin, processes, wait_for) -> Stream:
    return Stream(tmp_path, venv_bin, processes, wait_for)


@pytest.fixture
def jungfrau_run(tmp_path, shared_data) -> Path:
    """The recorded Jungfrau file as a run with smalldata, which psana deals over its ranks."""
    spec = importlib.util.find_spec("psana")
    programs = Path(next(iter(spec.submodule_search_locations))).parent / "bin"
    folder = tmp_path / "xtc"
    (folder / "smalldata").mkdir(parents=True)
    data = folder / "mfx101332224-r0007-s000-c000.xtc2"
    shutil.copy(shared_data / "data" / "xtc2" / "test_jungfrau05M_calib.xtc2", data)
    small = folder / "smalldata" / "mfx101332224-r0007-s000-c000.smd.xtc2"
    subprocess.run(
        [programs / "smdwriter", "-f", data, "-o", small],
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    return folder


def assert_is_the_jungfrau_run(stream: Stream, expected: dict[int, np.ndarray], figure) -> None:
    received = stream.received()
    assert sorted(received) == sorted(expected) == JUNGFRAU_TIMESTAMPS
    frames = np.stack([received[stamp] for stamp in JUNGFRAU_TIMESTAMPS])
    assert frames.dtype == np.uint16
    assert frames.shape == JUNGFRAU_SHAPE
    np.testing.assert_array_equal(frames, np.stack([expected[s] for s in JUNGFRAU_TIMESTAMPS]))
    assert int(frames.sum(dtype=np.uint64)) == JUNGFRAU_SUM
    ledger = stream.ledger()
    assert ledger["state"] == "completed"
    assert ledger["received"]["messages"] == ledger["acknowledged"]["messages"] == 2
    figure("jungfrau_raw_sum", int(frames.sum(dtype=np.uint64)))
    figure("jungfrau_timestamps", " ".join(str(stamp) for stamp in sorted(received)))


def test_the_jungfrau_file(stream, shared_data, tmp_path, figure):
    path = str(shared_data / "data" / "xtc2" / "test_jungfrau05M_calib.xtc2")
    stream.run(f"files={path}", "jungfrau", "raw.raw", producers=3, batch_size=1)
    expected = read_with_psana(tmp_path / "direct.npz", {"files": path}, "jungfrau", "raw.raw")
    assert_is_the_jungfrau_run(stream, expected, figure)


def test_the_jungfrau_file_as_a_run_that_psana_deals_over_its_ranks(
    stream, jungfrau_run, tmp_path, figure
):
    stream.run(
        f"exp=mfx101332224,run=7,dir={jungfrau_run}",
        "jungfrau",
        "raw.raw",
        producers=1,
        batch_size=1,
    )
    arguments = {"exp": "mfx101332224", "run": 7, "dir": str(jungfrau_run)}
    expected = read_with_psana(tmp_path / "direct.npz", arguments, "jungfrau", "raw.raw")
    assert_is_the_jungfrau_run(stream, expected, figure)


def test_a_run_of_two_streams(stream, shared_data, tmp_path, figure):
    folder = shared_data / "data" / "xtc2" / "run_dir"
    stream.run(
        f"exp=xpptut15,run=14,dir={folder}", "xpphsd", "fex.calib", producers=1, batch_size=7
    )
    arguments = {"exp": "xpptut15", "run": 14, "dir": str(folder)}
    expected = read_with_psana(tmp_path / "direct.npz", arguments, "xpphsd", "fex.calib")
    received = stream.received()
    assert sorted(received) == sorted(expected)
    for stamp, data in expected.items():
        np.testing.assert_array_equal(received[stamp], data)
    assert all(end["messages"] > 0 for end in stream.ends), "both consumers got a share"
    figure("run_of_two_streams_events_equal", len(received))
