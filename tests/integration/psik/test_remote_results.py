"""What a job left at a service: fetched whole, or the job says why not; other jobs are spared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import BackendConfig, JobState
from airflow_provider_lclstream.psik.store import JobStore


@pytest.mark.parametrize("dialect", ["v4", "v3"])
def test_results_that_are_too_long_fail_their_own_job_only(
    dialect: str,
    remote_service: str,
    tmp_path: Path,
    submit: Callable[..., Job],
    reach: Callable[..., None],
) -> None:
    settings = {"remote_url": remote_service, "dialect": dialect, "max_results": "100000"}
    store = JobStore(tmp_path, {"default": BackendConfig(type="psik", attributes=settings)})
    long = submit(store, "head -c 1000000 /dev/urandom > long")
    reach(long, timeout_seconds=60)
    assert long.last().state is JobState.failed
    assert "its results are longer than 100000 bytes; raise `max_results`" in long.last().info
    assert not (long.work / "long").exists()
    short = submit(store, "echo here > short")
    reach(short, timeout_seconds=60)
    assert short.last().state is JobState.completed
    assert (short.work / "short").read_text() == "here\n"
