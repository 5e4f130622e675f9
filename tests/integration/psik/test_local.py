"""The local backend with real processes: every end is recorded as what it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.layout import read_json, write_json
from airflow_provider_lclstream.psik.models import JobSpec, JobState, ResourceSpec
from airflow_provider_lclstream.psik.processes import members, start_ticks
from airflow_provider_lclstream.psik.states import TransitionRefusedError
from airflow_provider_lclstream.psik.store import JobStore

Submit = Callable[..., Job]
Reach = Callable[..., None]


def _noted(job: Job, who: str) -> int:
    return int((read_json(job.folder / ".psik" / "runner.1.json") or {})[who]["pid"])


def _states(job: Job) -> list[str]:
    return [str(row.state) for row in job.history()]


def _processes(job: Job, jobndx: int = 1) -> list[int]:
    return members(None, f"{job.folder}#{jobndx}")


def test_a_script_runs_and_its_end_is_kept(store: JobStore, submit: Submit, reach: Reach) -> None:
    job = submit(store, "echo out; echo err >&2; pwd; exit 3", name="three")
    reach(job)
    assert _states(job) == ["new", "queued", "active", "failed"]
    assert job.last().info == "exit code 3"
    assert job.log("stdout.1") == f"out\n{job.folder / 'work'}\n"
    assert job.log("stderr.1") == "err\n"
    result = job.result()
    assert result is not None
    assert result["exit_code"] == 3
    assert result["max_resident_bytes"] > 100_000
    assert 0 <= result["wall_seconds"] < 10


def test_nothing_on_standard_input_swallows_the_rest_of_the_script(
    store: JobStore, submit: Submit, reach: Reach
) -> None:
    job = submit(store, "cat; ssh -V; cat > /dev/null; echo after; exit 5")
    reach(job)
    assert job.log("stdout.1") == "after\n"
    assert job.last().info == "exit code 5"


@pytest.mark.parametrize(
    ("script", "info"),
    [
        ("#!/usr/bin/env python3\nimport sys; print(sys.argv[0]); sys.exit(4)", "exit code 4"),
        ("#!/bin/sh -e\nfalse\necho not here", "exit code 1"),
        ("kill -9 $$", "signal 9 (SIGKILL)"),
        ("kill -SEGV $$", "signal 11 (SIGSEGV)"),
        ("#!/no/such/interpreter\n", "No such file or directory (exit code 127)"),
        ("#!/etc/passwd\n", "Permission denied (exit code 126)"),
    ],
)
def test_interpreters_and_signals(
    store: JobStore, submit: Submit, reach: Reach, script: str, info: str
) -> None:
    job = submit(store, script)
    reach(job)
    assert job.state() is JobState.failed
    assert info in job.last().info


def test_a_damaged_specification_is_no_success(
    make_store: Callable[..., JobStore], submit: Submit, reach: Reach
) -> None:
    store = make_store(slots="1")
    first, job = submit(store, "sleep 0.5"), submit(store, "true")
    (job.folder / "spec.json").write_text("")
    reach(first)
    deadline = time.monotonic() + 20
    while not job.state().is_final and time.monotonic() < deadline:
        time.sleep(0.02)
    assert job.state() is JobState.failed
    assert "holds no script" in job.last().info


def test_a_missing_directory_is_the_reason(store: JobStore, submit: Submit, reach: Reach) -> None:
    job = submit(store, "true", directory="/no/such/folder")
    reach(job)
    assert "/no/such/folder" in job.last().info
    assert job.state() is JobState.failed


def test_the_environment_is_small_and_known(
    store: JobStore, submit: Submit, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBMITTER", "yes")
    job = submit(
        store,
        "/usr/bin/env",
        inherit_environment=False,
        environment={"X": "1 2", "nodes": "mine"},
        resources=ResourceSpec(process_count=4),
    )
    reach(job)
    found = dict(line.split("=", 1) for line in job.log("stdout.1").splitlines())
    assert set(found) - {"_", "PWD", "SHLVL", "OLDPWD"} == {
        "jobid", "jobndx", "base", "nodes", "mpirun", "PSIK_ATTEMPT", "X",
    }  # fmt: skip
    assert (found["base"], found["jobndx"]) == (str(job.folder), "1")
    assert (found["X"], found["nodes"], found["mpirun"]) == ("1 2", "mine", "mpirun -n 4")
    heir = submit(store, "echo $SUBMITTER")
    reach(heir)
    assert heir.log("stdout.1") == "yes\n"


def test_the_time_limit_is_kept(store: JobStore, submit: Submit, reach: Reach) -> None:
    job = submit(
        store, "trap '' TERM; sleep 60 & sleep 60", resources=ResourceSpec(duration=1 / 60)
    )
    reach(job)
    assert job.state() is JobState.failed
    assert job.last().info == "time limit reached"
    assert 1.0 <= job.last().time - job.history()[2].time < 8.0
    assert _processes(job) == []


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60",
        "trap '' TERM; while true; do sleep 0.1; done",
        "setsid sleep 60 & (sleep 60 &) ; sleep 60",
        "kill -STOP $$",
    ],
    ids=["plain", "deaf", "left-the-session", "stopped"],
)
def test_cancel_ends_all_of_it(
    store: JobStore, submit: Submit, reach: Reach, wait_for: Callable[..., Any], script: str
) -> None:
    job = submit(store, f"touch here; {script}")
    wait_for((job.work / "here").exists)
    time.sleep(0.05)
    job.cancel("canceled by alice")
    reach(job, timeout_seconds=8)
    assert job.state() is JobState.canceled
    assert job.last().info == "canceled by alice"
    assert _processes(job) == []
    history = job.history()
    assert job.cancel() is JobState.canceled
    assert job.history() == history


def test_a_script_may_end_well_when_canceled(
    store: JobStore, submit: Submit, reach: Reach, wait_for: Callable[..., Any]
) -> None:
    job = submit(store, "trap 'echo bye; exit 0' TERM; touch here; sleep 60 & wait")
    wait_for((job.work / "here").exists)
    job.cancel()
    reach(job)
    assert job.log("stdout.1") == "bye\n"
    assert job.state() is JobState.canceled


def test_an_ended_job_stays_as_it_ended(store: JobStore, submit: Submit, reach: Reach) -> None:
    job = submit(store, "true")
    reach(job)
    assert job.cancel() is JobState.completed
    assert _states(job) == ["new", "queued", "active", "completed"]


def test_what_a_script_leaves_behind_is_ended(
    store: JobStore, submit: Submit, reach: Reach
) -> None:
    job = submit(store, "sleep 60 & setsid sleep 60 & exit 0")
    reach(job)
    assert job.state() is JobState.completed
    assert _processes(job) == []


def test_slots_are_bounded_and_the_queue_is_in_order(
    make_store: Callable[..., JobStore], submit: Submit, reach: Reach
) -> None:
    store = make_store(slots="2")
    jobs = [submit(store, "sleep 0.3") for _ in range(6)]
    busiest = 0
    deadline = time.monotonic() + 30
    while not all(job.state().is_final for job in jobs) and time.monotonic() < deadline:
        busiest = max(busiest, sum(job.state() is JobState.active for job in jobs))
        time.sleep(0.01)
    # Nobody reconciled: each runner that ended started the next.
    assert [job.state() for job in jobs] == [JobState.completed] * 6
    assert busiest == 2
    starts = [job.history()[2].time for job in jobs]
    order = sorted(range(6), key=starts.__getitem__)
    # Two runners that are started at once may overtake each other before they record it.
    assert all(abs(place - number) <= 1 for place, number in enumerate(order)), order


def test_cancel_works_in_the_queue(
    make_store: Callable[..., JobStore], submit: Submit, reach: Reach
) -> None:
    store = make_store(slots="1")
    first, second, third = (submit(store, "sleep 0.5") for _ in range(3))
    assert second.cancel() is JobState.canceled
    for job in (first, third):
        reach(job)
        assert job.state() is JobState.completed
    assert _states(second) == ["new", "queued", "canceled"]


@pytest.mark.parametrize("milliseconds", [0, 5, 20, 40, 60, 100])
def test_cancel_at_any_moment_of_the_start(
    store: JobStore, submit: Submit, reach: Reach, milliseconds: int
) -> None:
    job = submit(store, "sleep 60")
    time.sleep(milliseconds / 1000)
    callers = [threading.Thread(target=job.cancel) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    reach(job, timeout_seconds=6)
    assert job.state() is JobState.canceled
    assert _states(job).count("canceled") == 1
    assert _processes(job) == []


def test_a_killed_runner_is_noticed_and_its_script_ended(
    store: JobStore, submit: Submit, reach: Reach, wait_for: Callable[..., Any], figure: Any
) -> None:
    job = submit(store, "touch here; sleep 60")
    wait_for((job.work / "here").exists)
    script, runner = _noted(job, "script"), _noted(job, "runner")
    os.kill(runner, signal.SIGKILL)
    killed = time.monotonic()
    reach(job, timeout_seconds=5)
    figure("seconds_to_notice_a_killed_runner", time.monotonic() - killed)
    assert job.state() is JobState.failed
    assert job.last().info == f"its runner was killed (pid {runner})"
    assert start_ticks(script) is None


def test_a_recycled_pid_is_not_mistaken_for_the_runner(
    store: JobStore, submit: Submit, reach: Reach, wait_for: Callable[..., Any]
) -> None:
    job = submit(store, "touch here; sleep 60")
    wait_for((job.work / "here").exists)
    noted = read_json(job.folder / ".psik" / "runner.1.json")
    assert noted is not None
    os.kill(noted["runner"]["pid"], signal.SIGKILL)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        # The dead runner's pid now belongs to somebody else, who started later.
        noted["runner"]["pid"] = stranger.pid
        write_json(job.folder / ".psik" / "runner.1.json", noted)
        job.cancel()
        reach(job)
        assert job.state() is JobState.canceled
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(5)


def test_a_killed_runner_does_not_keep_its_slot(
    make_store: Callable[..., JobStore], submit: Submit, reach: Reach, wait_for: Callable[..., Any]
) -> None:
    store = make_store(slots="1")
    first, second = submit(store, "touch here; sleep 60"), submit(store, "true")
    wait_for((first.work / "here").exists)
    os.kill(_noted(first, "runner"), signal.SIGKILL)
    reach(first)
    reach(second)
    assert second.state() is JobState.completed


SUBMITTER = """
import os, signal, sys
from pathlib import Path
from airflow_provider_lclstream.psik.models import JobSpec
from airflow_provider_lclstream.psik.store import JobStore
job = JobStore(Path(sys.argv[1])).create(JobSpec(script="sleep 0.3; echo lived on"))
{before}
job.submit()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "before",
    [
        "",
        # Killed between `queued` and the backend, and between the runner's birth and its release.
        "type(job).hand_over = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",
        "os.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
        " if len(_[1]) == 1 else __import__('posix').write(*_)",
    ],
    ids=["after-submit", "before-the-backend", "before-the-gate-opens"],
)
def test_a_job_outlives_its_submitter_wherever_that_dies(
    tmp_path: Path, reach: Reach, before: str
) -> None:
    program = SUBMITTER.format(before=before)
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "jobs")], timeout=30)
    assert ended.returncode == -signal.SIGKILL
    [job] = JobStore(tmp_path / "jobs").jobs()
    reach(job)
    assert job.state() is JobState.completed
    assert job.log("stdout.1") == "lived on\n"
    assert _states(job) == ["new", "queued", "active", "completed"]


def test_many_submitters_of_one_job_run_it_once(
    store: JobStore, reach: Reach, tmp_path: Path
) -> None:
    job = store.create(JobSpec(script=f"echo run >> {tmp_path}/count"))
    threads = [threading.Thread(target=store.get(job.jobid).submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reach(job)
    time.sleep(0.3)
    assert (tmp_path / "count").read_text() == "run\n"
    assert _states(job) == ["new", "queued", "active", "completed"]


def test_another_attempt_keeps_the_first_ones_logs(
    store: JobStore, submit: Submit, reach: Reach
) -> None:
    job = submit(store, "echo attempt $jobndx; exit $((2 - jobndx))")
    with pytest.raises(TransitionRefusedError):
        job.start()
    reach(job)
    job.start()
    reach(job)
    assert job.log("stdout.1") == "attempt 1\n"
    assert job.log("stdout.2") == "attempt 2\n"
    assert [(row.jobndx, str(row.state)) for row in job.history()[3:]] == [
        (1, "failed"), (2, "queued"), (2, "active"), (2, "completed"),
    ]  # fmt: skip


def test_a_state_the_script_reports_stands(
    store: JobStore, submit: Submit, reach: Reach, venv_bin: Path
) -> None:
    job = submit(store, f"{venv_bin}/lclstream psik reached $base $jobndx failed 'no beam'")
    reach(job)
    time.sleep(0.2)
    assert _states(job) == ["new", "queued", "active", "failed"]
    assert job.last().info == "no beam"


def test_a_job_may_submit_a_job_that_outlives_it(
    store: JobStore, submit: Submit, reach: Reach, tmp_path: Path
) -> None:
    inner = (
        "from pathlib import Path; from airflow_provider_lclstream.psik.models import JobSpec; "
        "from airflow_provider_lclstream.psik.store import JobStore; "
        f"JobStore(Path({str(store.prefix)!r})).create(JobSpec(script='sleep 0.5; echo in'))"
        ".submit()"
    )
    outer = submit(store, f'{sys.executable} -c "{inner}"')
    reach(outer)
    assert outer.state() is JobState.completed
    [job] = [each for each in store.jobs() if each.jobid != outer.jobid]
    reach(job)
    assert job.log("stdout.1") == "in\n"
    assert job.state() is JobState.completed


def test_binary_output_is_no_obstacle(store: JobStore, submit: Submit, reach: Reach) -> None:
    job = submit(store, r"printf '\377\000\376 x\n'")
    reach(job)
    assert job.read_log("stdout.1", 0, None) == b"\xff\x00\xfe x\n"
    assert "x" in job.log("stdout.1")


def test_a_removed_job_is_gone_and_an_active_one_is_not_removed(
    store: JobStore, submit: Submit, reach: Reach
) -> None:
    job = submit(store, "sleep 60")
    reach(job, "active")
    with pytest.raises(Exception, match="cancel it first"):
        store.remove(job.jobid)
    job.cancel()
    reach(job)
    store.remove(job.jobid)
    assert store.jobs() == []
    assert not job.folder.exists()


def test_a_job_starts_at_once(store: JobStore, submit: Submit, reach: Reach, figure: Any) -> None:
    delays: list[float] = []
    for _ in range(5):
        job = submit(store, "true")
        reach(job)
        rows = job.history()
        delays.append(rows[2].time - rows[1].time)
    figure("seconds_from_queued_to_active", sorted(delays)[2])
    assert min(delays) < 0.2
