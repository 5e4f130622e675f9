"""The whole path on this machine: a run, and a burst of ten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

TIMINGS = (
    "seconds_to_dag_run",
    "seconds_to_streamer_active",
    "seconds_to_first_event",
    "seconds_to_completed",
)


def run_demo(processes, tmp_path: Path, *words: str, timeout_seconds: float) -> dict:
    """The demo's last line; fails with its story where it did not end well."""
    ended = processes.run(
        ["lclstream", "demo", "--json", "--folder", tmp_path / "demo", *words],
        timeout_seconds=timeout_seconds,
    )
    assert ended.process.returncode == 0, ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def assert_exactly_once(result: dict) -> None:
    assert result["state"] == "completed"
    assert result["events_produced"] == result["events_delivered"] > 0
    assert result["events_lost"] == 0
    assert result["events_duplicated"] == 0
    # What the science sees is what was put in.
    assert result["hits"] == result["hits_simulated"] > 0


@pytest.mark.timeout(400)
def test_a_run_streams_through_the_whole_system(processes, tmp_path, figure):
    result = run_demo(processes, tmp_path, "--ranks", "2", "--consumers", "2", timeout_seconds=380)
    for name in TIMINGS:
        figure(name, result[name])
    assert_exactly_once(result)
    assert [result[name] for name in TIMINGS] == sorted(result[name] for name in TIMINGS)
    assert all(result[name] > 0 for name in TIMINGS)
    assert result["seconds_to_first_event"] <= 15
    ledger = result["ledger"]
    assert ledger["state"] == "completed"
    assert ledger["received"] == ledger["acknowledged"]
    assert {consumer["end"] for consumer in ledger["consumers"]} == {"end_of_stream"}
    assert len(ledger["consumers"]) == 2
    assert Path(result["picture"]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.timeout(700)
def test_a_burst_of_ten_runs_gives_ten_transfers(processes, tmp_path, figure):
    result = run_demo(
        processes, tmp_path, "--runs", "10", "--ranks", "1", "--consumers", "1",
        timeout_seconds=680,
    )  # fmt: skip
    figure("burst_seconds_to_last_dag_run", result["seconds_to_dag_run"])
    figure("burst_seconds_to_last_completed", result["seconds_to_completed"])
    assert_exactly_once(result)
    assert result["transfers_completed"] == 10
    assert [row["run_number"] for row in result["runs"]] == list(range(1, 11))
    assert {row["state"] for row in result["runs"]} == {"completed"}
