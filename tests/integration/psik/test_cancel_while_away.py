"""A cancel that a backend cannot be told of at once is told later: no job is left behind by it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import BackendConfig, JobState
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import UnavailableError

Serve = Callable[[], Any]


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    """Where the service is, when it is there."""
    return free_port()


@pytest.fixture
def serve(port: int, tmp_path: Path, processes: Any, wait_for: Callable[..., Any]) -> Serve:
    """``serve()``: start the service; it keeps its jobs when it is started again."""
    config = tmp_path / "psik.json"
    config.write_text(json.dumps({"prefix": f"{tmp_path}/remote"}))

    def start() -> Any:
        running = processes.start(
            ["lclstream", "psik", "serve", f"http://127.0.0.1:{port}", "--config", config,
             "--loopback-caller", "us"]
        )  # fmt: skip
        wait_for(lambda: "listening" in running.stdout or running.process.poll() is not None)
        assert running.process.poll() is None, running.stderr
        return running

    return start


@pytest.fixture
def here(port: int, tmp_path: Path) -> JobStore:
    """Jobs for that service."""
    settings = {"remote_url": f"http://127.0.0.1:{port}", "dialect": "v4"}
    return JobStore(tmp_path / "here", {"default": BackendConfig(type="psik", attributes=settings)})


def test_a_job_that_was_never_taken(
    here: JobStore, serve: Serve, submit: Callable[..., Job], reach: Callable[..., None]
) -> None:
    job = submit(here, "touch ran")
    assert job.cancel("not wanted") is JobState.queued
    assert "no connection" in job.remark()
    serve()
    reach(job, timeout_seconds=30)
    assert (job.state(), job.last().info) == (JobState.canceled, "not wanted")
    assert not (job.work / "ran").exists()


def test_a_job_that_was_active(
    here: JobStore,
    serve: Serve,
    submit: Callable[..., Job],
    reach: Callable[..., None],
    tmp_path: Path,
) -> None:
    service = serve()
    job = submit(here, "sleep 600")
    reach(job, JobState.active, timeout_seconds=30)
    service.stop()
    with contextlib.suppress(UnavailableError):
        job.cancel("not wanted")
    assert job.state() is JobState.active
    serve()
    reach(job, timeout_seconds=30)
    assert (job.state(), job.last().info) == (JobState.canceled, "not wanted")
    assert [j.state() for j in JobStore(tmp_path / "remote").jobs()] == [JobState.canceled]
