"""What every backend has to do, the same test over all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.layout import JobFolder
from airflow_provider_lclstream.psik.models import JobSpec, JobState
from airflow_provider_lclstream.psik.states import TransitionRefusedError
from airflow_provider_lclstream.psik.store import JobStore

Submit = Callable[..., Job]
Reach = Callable[..., None]
LONG = 60.0


def _states(job: Job) -> list[str]:
    return [str(row.state) for row in job.history()]


@pytest.mark.parametrize(
    ("script", "state", "info"),
    [
        ("echo hi", JobState.completed, "exit code 0"),
        ("exit 3", JobState.failed, "exit code 3"),
        ("#!/usr/bin/env python3\nraise SystemExit(4)", JobState.failed, "exit code 4"),
        ("kill -TERM $$", JobState.failed, "signal 15 (SIGTERM)"),
        ("#!/no/such/interpreter", JobState.failed, "exit code 127"),
    ],
)
def test_how_a_script_ends(
    any_store: JobStore, submit: Submit, reach: Reach, script: str, state: JobState, info: str
) -> None:
    job = submit(any_store, script)
    reach(job, timeout_seconds=LONG)
    assert _states(job) == ["new", "queued", "active", str(state)]
    assert info in job.last().info
    times = [row.time for row in job.history()]
    assert times == sorted(times)


def test_input_output_files_and_environment(any_store: JobStore, reach: Reach) -> None:
    job = any_store.create(
        JobSpec(
            name="all of it",
            script="cat\ncat sub/in.txt; echo $X; echo $jobndx; echo oops >&2; echo r > out.txt",
            environment={"X": "a b"},
        ),
        files={"sub/in.txt": "content\n"},
    )
    job.submit()
    reach(job, timeout_seconds=LONG)
    assert job.log("stdout.1") == "content\na b\n1\n"
    assert job.log("stderr.1") == "oops\n"
    assert (job.work / "out.txt").read_text() == "r\n"


def test_cancel_of_an_active_job(any_store: JobStore, submit: Submit, reach: Reach) -> None:
    job = submit(any_store, "sleep 300")
    reach(job, "active", timeout_seconds=LONG)
    job.cancel("not wanted")
    job.cancel("a second time")
    reach(job, timeout_seconds=LONG)
    assert job.state() is JobState.canceled
    assert job.last().info == "not wanted"
    assert job.cancel() is JobState.canceled
    assert _states(job) == ["new", "queued", "active", "canceled"]


def test_cancel_of_an_ended_job_changes_nothing(
    any_store: JobStore, submit: Submit, reach: Reach
) -> None:
    job = submit(any_store, "true")
    reach(job, timeout_seconds=LONG)
    assert job.cancel() is JobState.completed


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.2])
def test_cancel_while_it_starts(
    any_store: JobStore, submit: Submit, reach: Reach, seconds: float
) -> None:
    job = submit(any_store, "sleep 300")
    time.sleep(seconds)
    job.cancel()
    reach(job, timeout_seconds=LONG)
    assert job.state() is JobState.canceled
    assert _states(job).count("canceled") == 1


def test_another_attempt(any_store: JobStore, submit: Submit, reach: Reach) -> None:
    job = submit(any_store, "sleep 1; echo run >> count; cat count; [ $(wc -l < count) = 2 ]")
    with pytest.raises(TransitionRefusedError):
        job.start()
    reach(job, timeout_seconds=LONG)
    job.start()
    reach(job, timeout_seconds=LONG)
    assert [job.log(f"stdout.{n}") for n in (1, 2)] == ["run\n", "run\nrun\n"]
    assert _states(job)[3:] == ["failed", "queued", "active", "completed"]


def test_results_come_back(any_store: JobStore, submit: Submit, reach: Reach) -> None:
    job = submit(any_store, "mkdir deep; echo data > deep/out.txt; exit 7")
    reach(job, timeout_seconds=LONG)
    assert (job.work / "deep" / "out.txt").read_text() == "data\n"
    result = job.result()
    assert result is not None
    assert result["exit_code"] == 7


def test_eight_submitters_and_a_lost_note_run_it_once(any_store: JobStore, reach: Reach) -> None:
    job = any_store.create(JobSpec(script="echo run >> count; sleep 1"), idempotency_key="k")
    threads = [threading.Thread(target=any_store.get(job.jobid).submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # As if the submitter had died before it noted what the scheduler answered.
    JobFolder(job.folder).native(1).unlink()
    again = any_store.create(JobSpec(script="other"), idempotency_key="k")
    assert again.jobid == job.jobid
    again.submit()
    reach(again, timeout_seconds=LONG)
    time.sleep(0.3)
    assert (job.work / "count").read_text() == "run\n"
    assert _states(job) == ["new", "queued", "active", "completed"]
