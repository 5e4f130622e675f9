"""Real psana 2 on recorded runs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

pytestmark = [pytest.mark.psana, pytest.mark.mpi, pytest.mark.shared_data, pytest.mark.slow]

JUNGFRAU_SUM = 2512706323
JUNGFRAU_TIMESTAMPS = [4776162079372773723, 4776162079381031262]

DETECTOR = "Psana2DetectorInterface"


def detector(name, fields=None, **more):
    return {"type": DETECTOR, "psana_name": name, "psana_fields": fields, **more}


JUNGFRAU = {
    "timestamp": {"type": "Psana2Timestamp"},
    "raw": detector("jungfrau", "raw.raw"),
    "hot": detector("jungfrau", "raw.num_hot_pixels"),
    "names": detector("jungfrau", ["_detid", "raw._det_geotxt_default"]),
    "run": {"type": "Psana2RunInfo"},
}


class Job:
    """Streams one configuration into files, with one rank or several."""

    def __init__(self, folder: Path, venv_bin: Path, processes) -> None:
        self.folder, self._bin, self._processes = folder, venv_bin, processes

    def words(self, identifier, sources, ranks=1, batch=1, skip=True, extra=(), **source):
        configuration = {
            "source_identifier": identifier,
            "skip_incomplete_events": skip,
            "event_source": {"type": "Psana2EventSource", **source},
            "data_sources": sources,
            "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": batch},
            "data_serializer": {"type": "Hdf5Serializer"},
            "data_handlers": [{"type": "BinaryFileWritingDataHandler", "write_directory": "out"}],
        }
        (self.folder / "run.yaml").write_text(yaml.safe_dump(configuration))
        launcher = [self._bin / "mpirun", "-n", str(ranks)] if ranks > 1 else []
        streamer = self._bin / "lclstreamer"
        return [*launcher, streamer, "-c", "run.yaml", "--report", "reports", *extra]

    def run(self, *arguments, code=0, environment=None, **options):
        done = self._processes.run(
            self.words(*arguments, **options),
            cwd=self.folder,
            environment=environment,
            timeout_seconds=90,
        )
        assert done.process.returncode == code, done.stderr[-3000:]
        return done

    def start(self, *arguments, **options):
        return self._processes.start(self.words(*arguments, **options), cwd=self.folder)

    def reports(self):
        paths = sorted((self.folder / "reports").glob("report.r*.json"))
        return [json.loads(path.read_text()) for path in paths]

    def arrays(self, name):
        """Event id → row of one dataset, over all files that have it."""
        rows = {}
        for path in sorted((self.folder / "out").glob("*.h5")):
            with h5py.File(path) as file:
                if name in file:
                    ids = file["/LCLS/event_id"][:].tolist()
                    rows.update(zip(ids, file[name][:], strict=True))
        return rows

    def ids(self):
        """Every event id, as often as it arrived."""
        ids = []
        for path in sorted((self.folder / "out").glob("*.h5")):
            with h5py.File(path) as file:
                ids += file["/LCLS/event_id"][:].tolist()
        return ids


@pytest.fixture
def job(tmp_path, venv_bin, processes):
    return Job(tmp_path, venv_bin, processes)


@pytest.fixture(scope="session")
def xtc2(shared_data) -> Path:
    return shared_data / "data" / "xtc2"


@pytest.fixture
def long_run(tmp_path) -> Path:
    """A run of 20,000 small events, written by the programs in psana's wheel."""
    spec = importlib.util.find_spec("psana")
    programs = Path(next(iter(spec.submodule_search_locations))).parent / "bin"
    folder = tmp_path / "xtc"
    (folder / "smalldata").mkdir(parents=True)
    data = folder / "xpptut15-r0015-s000-c000.xtc2"
    small = folder / "smalldata" / "xpptut15-r0015-s000-c000.smd.xtc2"
    write = ["-f", data, "-t", "-n", "20000", "-s", "0", "-e", "1000", "-m", "1"]
    for words in (
        [programs / "xtcwriter", *write],
        [programs / "smdwriter", "-f", data, "-o", small],
    ):
        subprocess.run(words, check=True, timeout=60, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_file_is_read_exactly_and_shared_by_the_ranks(job, xtc2, ranks):
    job.run(f"files={xtc2 / 'test_jungfrau05M_calib.xtc2'}", JUNGFRAU, ranks=ranks)
    frames = job.arrays("raw")
    assert sorted(frames) == sorted(job.ids()) == JUNGFRAU_TIMESTAMPS
    stacked = np.stack([frames[event_id] for event_id in JUNGFRAU_TIMESTAMPS])
    assert stacked.shape == (2, 1, 512, 1024)
    assert stacked.dtype == np.uint16
    assert int(stacked.sum(dtype=np.uint64)) == JUNGFRAU_SUM
    stamps = job.arrays("timestamp")
    assert [int(stamps[event_id]) for event_id in sorted(stamps)] == JUNGFRAU_TIMESTAMPS
    assert stamps[JUNGFRAU_TIMESTAMPS[0]].dtype == np.uint64
    assert next(iter(job.arrays("run").values())).tolist()[0] == b"mfx101332224"
    assert [report["events"] for report in job.reports()] == ([2] if ranks == 1 else [1, 1, 0])


RUN14 = {
    "timestamp": {"type": "Psana2Timestamp"},
    "raw": detector("xppcspad", "raw.raw"),
    "fex": detector("xpphsd", "fex.calib"),
    "pressure": detector("HX2:DVD:GCC:01:PMON"),
    "motor": detector("motor1"),
}


@pytest.mark.parametrize("ranks", [1, 4])
def test_a_run_with_detectors_at_different_rates(job, xtc2, ranks):
    job.run(
        f"exp=xpptut15,run=14,dir={xtc2 / 'run_dir'}",
        RUN14,
        ranks=ranks,
        batch=5,
        skip=False,
        calibration_constants="skip",
    )
    reports = job.reports()
    assert [report["role"] for report in reports] == ["psana"] * (ranks // 2) + ["events"] * max(
        1, ranks - 2
    )
    # The camera is in 10 of the 100 events; where it is absent psana's code raises a TypeError.
    assert sum(report["failures"].get("raw: TypeError", 0) for report in reports) == 90
    assert sum(report["events"] for report in reports) == len(set(job.ids())) == 100
    assert len(job.ids()) == 100
    frames = [frame for frame in job.arrays("raw").values() if frame.any()]
    assert len(frames) == 10
    assert sum(int(frame.sum()) for frame in frames) == 6120
    assert next(iter(job.arrays("fex").values())).shape == (6,)
    if ranks > 3:
        assert all(report["events"] > 0 for report in reports if report["role"] == "events")


def test_incomplete_events_are_left_out_and_the_stream_goes_on(job, xtc2):
    job.run(
        f"exp=xpptut15,run=14,dir={xtc2 / 'run_dir'}",
        {"raw": detector("xppcspad", "raw.raw")},
        calibration_constants="skip",
    )
    (report,) = job.reports()
    assert (report["events_read"], report["skipped_events"], report["events"]) == (100, 90, 10)
    assert sum(int(frame.sum()) for frame in job.arrays("raw").values()) == 6120


def test_a_digitizers_waveforms_and_peaks(job, xtc2):
    sources = {
        "waveforms": detector("xpphsd", "hsd.waveforms"),
        "peaks": detector("xpphsd", "hsd.peaks", required=False),
        "pulse": detector("xppts", "ts.TsData.pulseId"),
    }
    job.run(f"files={xtc2 / 'test_hsd.xtc2'}", sources, batch=100)
    (report,) = job.reports()
    assert (report["events_read"], report["events"]) == (84, 20)
    times = next(iter(job.arrays("waveforms.0.times").values()))
    assert times.shape == (800,)
    assert len(job.arrays("peaks.0.0.lengths")) == 20
    assert len(set(map(int, job.arrays("pulse").values()))) == 20


def test_other_detectors_and_an_epics_variable(job, xtc2):
    sources = {
        "image": detector("tmott", "ttalg.image"),
        "filter": detector("IIR", required=False, dtype="float64"),
    }
    job.run(
        f"files={xtc2 / 'test_timetool_psana.xtc2'}",
        sources,
        batch=100,
        extra=("-n", "600"),
        calibration_constants="skip",
    )
    (report,) = job.reports()
    assert report["events_read"] == 600
    assert report["missing"]["image"] == report["skipped_events"] > 0
    assert next(iter(job.arrays("image").values())).shape == (2048,)


def test_the_logbook_may_be_somewhere_else(job, xtc2):
    asked = []

    class Logbook(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            names = [f"/x/xpptut15-r0014-s00{stream}-c000.xtc2" for stream in (0, 1)]
            body = json.dumps({"success": True, "value": names}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Logbook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        job.run(
            f"exp=xpptut15,run=14,dir={xtc2 / 'run_dir'}",
            {"fex": RUN14["fex"]},
            calibration_constants="skip",
            logbook_url=f"http://127.0.0.1:{server.server_port}/ws",
        )
        server.shutdown()
        thread.join(10)
    assert asked == ["/ws/lgbk/xpptut15/ws/14/current_files_for_live_mode"]
    assert len(job.ids()) == 100


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_detector_that_is_not_there_ends_every_rank(job, xtc2, ranks):
    done = job.run(
        f"exp=xpptut15,run=14,dir={xtc2 / 'run_dir'}",
        {"raw": detector("xpcspad", "raw.raw")},
        ranks=ranks,
        calibration_constants="skip",
        code=78,
    )
    assert "did you mean 'xppcspad'" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_ranks_are_too_few(job, xtc2):
    done = job.run(f"exp=xpptut15,run=14,dir={xtc2 / 'run_dir'}", RUN14, ranks=2, code=78)
    assert "or with at least 3" in done.stderr


@pytest.mark.parametrize(
    ("identifier", "code", "says"),
    [
        ("exp=xpptut15,run=99,dir={}", 65, "psana cannot open it"),
        ("files={}/nothing.xtc2", 65, "there is no"),
    ],
)
def test_a_run_that_is_not_there(job, xtc2, identifier, code, says):
    done = job.run(identifier.format(xtc2 / "run_dir"), RUN14, code=code)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_calibration_server_that_is_not_there(job, xtc2, free_port):
    done = job.run(
        f"exp=xpptut15,run=14,dir={xtc2 / 'run_dir'}",
        RUN14,
        code=69,
        environment={"LCLS_CALIB_HTTP": f"http://127.0.0.1:{free_port()}/ws"},
    )
    assert "calibration_constants to skip" in done.stderr


def test_the_limit_counts_over_all_ranks(job, long_run):
    job.run(
        f"exp=xpptut15,run=15,dir={long_run}",
        {"fex": RUN14["fex"]},
        ranks=4,
        batch=50,
        extra=("-n", "333"),
        calibration_constants="skip",
    )
    assert len(job.ids()) == len(set(job.ids())) == 333


def test_a_stop_ends_all_ranks_and_delivers_what_was_read(job, long_run, wait_for):
    running = job.start(
        f"exp=xpptut15,run=15,dir={long_run}",
        {"fex": RUN14["fex"]},
        ranks=4,
        batch=20,
        calibration_constants="skip",
    )
    out = job.folder / "out"
    wait_for(lambda: len(list(out.glob("r[23]_*.h5"))) > 4, timeout_seconds=60, what="messages")
    running.process.terminate()
    assert running.wait(60) == 143
    reports = job.reports()
    assert {report["state"] for report in reports} == {"stopped"}
    events = sum(report["events"] for report in reports)
    assert events == len(set(job.ids())) == len(job.ids())
    assert 0 < events < 20_000


def test_a_rank_that_cannot_deliver_ends_the_run_in_order(job, long_run):
    (job.folder / "out").mkdir()
    (job.folder / "out" / "r2_3.h5").mkdir()  # rank 2 cannot give its fourth message this name
    job.run(
        f"exp=xpptut15,run=15,dir={long_run}",
        {"fex": RUN14["fex"]},
        ranks=4,
        batch=20,
        calibration_constants="skip",
        code=74,
    )
    reports = job.reports()
    assert reports[2]["exit_code"] == 74
    assert any("took 3 of" in problem for problem in reports[2]["problems"])
    assert not reports[3]["problems"]
