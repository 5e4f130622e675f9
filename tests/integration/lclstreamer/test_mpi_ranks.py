"""Ranks under the real mpirun: shares, deaths, stops."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.mpi, pytest.mark.slow]

CONFIGURATION = """
source_identifier: ""
skip_incomplete_events: true
event_source: {{type: InternalEventSource, number_of_events_to_generate: {count}{more}}}
data_sources:
  id: {{type: EventId}}
  frame: {{type: GenericRandomNumpyArray, array_shape: [4, 5], array_dtype: float32}}
processing_pipeline: {{type: BatchProcessingPipeline, batch_size: 10}}
data_serializer: {{type: NumpyBinarySerializer, use_compression: false}}
data_handlers: [{{type: BinaryFileWritingDataHandler, write_directory: out, file_suffix: npz}}]
"""


def configure(folder: Path, count: int, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.yaml"
    path.write_text(CONFIGURATION.format(count=count, more=more))
    return path


def arrived(folder: Path) -> dict[int, np.ndarray]:
    """Event id → frame, of all files; fails where an event arrived twice."""
    events: dict[int, np.ndarray] = {}
    for path in folder.glob("out/*.npz"):
        with np.load(path) as arrays:
            for event_id, frame in zip(arrays["id"].tolist(), arrays["frame"], strict=True):
                assert event_id not in events
                events[event_id] = frame
    return events


def reports(folder: Path) -> dict[int, dict]:
    return {
        report["rank"]: report
        for report in (json.loads(path.read_text()) for path in folder.glob("reports/*.json"))
    }


def mpirun(ranks: int, venv_bin: Path, *words: str) -> list[str | Path]:
    return [venv_bin / "mpirun", "-n", str(ranks), venv_bin / "lclstreamer", *words]


def streaming(text: str) -> dict[int, int]:
    """Rank → process number, from the log lines that say that streaming starts."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {line["rank"]: line["pid"] for line in lines if line["event"] == "streaming starts"}


def test_three_ranks_make_each_event_once_and_the_same_as_one_rank(tmp_path, venv_bin, processes):
    words = ("-c", "run.yaml", "--report", "reports")
    for ranks, folder in ((1, tmp_path / "one"), (3, tmp_path / "three")):
        configure(folder, 76)
        done = processes.run(mpirun(ranks, venv_bin, *words), cwd=folder)
        assert done.process.returncode == 0, done.stderr
        assert set(reports(folder)) == set(range(ranks))
    one, three = arrived(tmp_path / "one"), arrived(tmp_path / "three")
    assert sorted(one) == sorted(three) == list(range(76))
    for event_id, frame in one.items():
        np.testing.assert_array_equal(frame, three[event_id])
    assert sum(r["events"] for r in reports(tmp_path / "three").values()) == 76


def test_a_rank_killed_with_sigkill_leaves_the_others_alone(
    tmp_path, venv_bin, processes, wait_for
):
    configure(tmp_path, 240, ", events_per_second: 60")
    job = processes.start(
        mpirun(3, venv_bin, "-c", "run.yaml", "--report", "reports"), cwd=tmp_path
    )
    ranks = wait_for(lambda: (r := streaming(job.stderr)) and len(r) == 3 and r, what="3 ranks")
    wait_for(lambda: list(tmp_path.glob("out/r1_*.npz")), what="rank 1's first message")
    os.kill(ranks[1], signal.SIGKILL)
    assert job.wait() == 137
    assert "rank 1 of 3" in job.stderr
    assert "died of signal 9" in job.stderr
    ended = reports(tmp_path)
    assert {rank: r["state"] for rank, r in ended.items()} == {0: "completed", 2: "completed"}
    assert all(r["events"] == 80 and r["exit_code"] == 0 for r in ended.values())
    others = [event_id for event_id in arrived(tmp_path) if event_id % 3 != 1]
    assert sorted(others) == [n for n in range(240) if n % 3 != 1]


def test_a_stop_delivers_everything_that_was_read(tmp_path, venv_bin, processes, wait_for):
    configure(tmp_path, 100_000, ", events_per_second: 300")
    job = processes.start(
        mpirun(3, venv_bin, "-c", "run.yaml", "--report", "reports"), cwd=tmp_path
    )
    wait_for(lambda: len(list(tmp_path.glob("out/r*_1.npz"))) == 3, what="two messages per rank")
    started = time.monotonic()
    job.process.terminate()
    assert job.wait() == 143
    assert time.monotonic() - started < 10
    ended = reports(tmp_path)
    assert {r["state"] for r in ended.values()} == {"stopped"}
    assert all(r["events"] == r["events_read"] and not r["problems"] for r in ended.values())
    assert len(arrived(tmp_path)) == sum(r["events"] for r in ended.values())


def test_a_rank_that_fails_leaves_the_others_alone(tmp_path, venv_bin, processes):
    configure(tmp_path, 60)
    (tmp_path / "out").mkdir()
    # What rank 1 wants to write is a folder already, so the message cannot get its name.
    (tmp_path / "out" / "r1_0.npz").mkdir()
    done = processes.run(mpirun(3, venv_bin, "-c", "run.yaml", "--report", "reports"), cwd=tmp_path)
    assert done.process.returncode == 74
    ended = reports(tmp_path)
    assert [ended[rank]["exit_code"] for rank in range(3)] == [0, 74, 0]
    assert any("took 0 of" in problem for problem in ended[1]["problems"])
