"""Which processes are a job's and which are not: the one are ended, the others left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.layout import read_json, write_json
from airflow_provider_lclstream.psik.models import JobState
from airflow_provider_lclstream.psik.processes import start_ticks
from airflow_provider_lclstream.psik.state_log import StateLog
from airflow_provider_lclstream.psik.store import JobStore

Submit = Callable[..., Job]
Reach = Callable[..., None]


def _renote(job: Job, change: Callable[[dict[str, Any]], None]) -> None:
    path = job.folder / ".psik" / "runner.1.json"
    noted = read_json(path)
    assert noted is not None
    change(noted)
    write_json(path, noted)


@pytest.mark.parametrize("boot", [None, "another"])
def test_a_strangers_session_is_left_alone(
    store: JobStore,
    submit: Submit,
    reach: Reach,
    wait_for: Callable[..., Any],
    boot: str | None,
) -> None:
    job = submit(store, "touch here; sleep 600")
    wait_for((job.work / "here").exists)
    time.sleep(0.05)  # start times count ticks of 10 ms, in which the kernel uses no pid twice
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)

    def recycle(noted: dict[str, Any]) -> None:
        # The machine was started anew, or has used up its numbers: the script's is a stranger's.
        os.kill(noted["runner"]["pid"], signal.SIGKILL)
        os.kill(noted["script"]["pid"], signal.SIGKILL)
        noted["script"]["pid"] = stranger.pid
        noted["script"]["boot"] = boot or noted["script"]["boot"]

    try:
        _renote(job, recycle)
        reach(job)
        assert (job.state(), stranger.poll()) == (JobState.failed, None)
    finally:
        stranger.kill()
        stranger.wait(5)


def test_a_daemon_with_nothing_of_its_job_is_ended_with_it(
    store: JobStore, submit: Submit, reach: Reach, wait_for: Callable[..., Any]
) -> None:
    script = "env -i setsid sh -c 'echo $$ > pid; exec sleep 600' & sleep 600"
    job = submit(store, script)
    wait_for(lambda: (job.work / "pid").exists() and (job.work / "pid").read_text())
    daemon = int((job.work / "pid").read_text())
    assert start_ticks(daemon) is not None
    job.cancel()
    reach(job)
    assert job.state() is JobState.canceled
    assert start_ticks(daemon) is None


def test_many_orphans_leave_no_zombies(
    store: JobStore, submit: Submit, reach: Reach, wait_for: Callable[..., Any]
) -> None:
    script = "for i in $(seq 50); do (sleep 0.01 &) ; done; sleep 0.5; touch here; sleep 600"
    job = submit(store, script)
    wait_for((job.work / "here").exists)
    noted = read_json(job.folder / ".psik" / "runner.1.json")
    assert noted is not None
    runner = noted["runner"]["pid"]
    children = Path(f"/proc/{runner}/task/{runner}/children").read_text().split()
    assert children == [str(noted["script"]["pid"])]
    job.cancel()
    reach(job)


def test_a_host_that_never_comes_back(
    store: JobStore, submit: Submit, reach: Reach, wait_for: Callable[..., Any]
) -> None:
    job = submit(store, "touch here; sleep 600", resources={"duration": 1})
    wait_for((job.work / "here").exists)
    runner: dict[str, Any] = {}

    def move(noted: dict[str, Any]) -> None:
        runner.update(noted["runner"])
        noted["runner"]["host"] = "a-container-of-old"

    _renote(job, move)
    assert job.reconcile() is JobState.active  # it may come back
    rows = job.folder / "status.csv"
    lines = rows.read_text().splitlines(keepends=True)
    last = StateLog(rows).last()
    assert last is not None
    early = lines[-1].replace(lines[-1].split(",")[0], f"{time.time() - 3600:.6f}")
    rows.write_text("".join([*lines[:-1], early]))
    assert job.reconcile() is JobState.failed
    assert "host a-container-of-old has not said" in job.last().info
    os.kill(runner["pid"], signal.SIGTERM)
