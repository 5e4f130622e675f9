"""A disk that is full: nothing said about a job becomes untrue, and what fills it can be ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, JobState
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import OutputError

Submit = Callable[..., Job]


@pytest.fixture
def disk(tmp_path: Path, require: Callable[[object, str], None]) -> Iterator[Path]:
    """A file system of 2 MiB."""
    require(os.geteuid() == 0, "only root can mount a small file system to fill it")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"no small file system can be mounted here: {done.stderr}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small_store(disk: Path) -> JobStore:
    """Jobs on that file system."""
    return JobStore(disk / "jobs", {"default": BackendConfig(attributes={"grace_seconds": "1"})})


def _fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        (disk / "big").write_bytes(bytes(4 * 2**20))


def test_how_it_ended_is_known_though_no_file_can_be_written(
    small_store: JobStore, disk: Path, submit: Submit, reach: Callable[..., None], tmp_path: Path
) -> None:
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit $1"
    jobs = [submit(small_store, script.replace("$1", code)) for code in ("0", "3")]
    for job in jobs:
        reach(job, "active")
    _fill(disk)
    (tmp_path / "go").touch()
    for job in jobs:
        reach(job)
    assert [job.last().info for job in jobs] == ["exit code 0", "exit code 3"]


def test_the_job_that_fills_it_can_be_canceled(
    small_store: JobStore, submit: Submit, reach: Callable[..., None], wait_for: Callable[..., None]
) -> None:
    job = submit(small_store, "cat /dev/zero > big; echo full >> ../../full; sleep 600")
    wait_for(lambda: (small_store.prefix / "full").exists(), what="the disk to be full")
    job.cancel()
    reach(job)
    assert job.state() is JobState.canceled


def test_what_is_submitted_waits_for_room(
    small_store: JobStore, disk: Path, reach: Callable[..., None]
) -> None:
    job = small_store.create(JobSpec(script="true"))
    _fill(disk)
    assert job.submit() is JobState.queued
    assert job.reconcile() is JobState.queued
    with pytest.raises(OutputError, match="No space left"):
        small_store.create(JobSpec(script="true"))
    (disk / "big").unlink()
    reach(job)
    assert job.state() is JobState.completed
