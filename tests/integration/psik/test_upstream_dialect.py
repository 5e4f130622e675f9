"""Upstream's dialects: the carrier tells the truth, whatever the service says.

Each test runs over our own service's /v3; where upstream's psik_api is at hand, over that too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import callback_receiver
import httpx2
import pytest

from airflow_provider_lclstream.psik.callbacks.start import watched
from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, JobState
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import LCLStreamError

UPSTREAM = [
    pytest.mark.interop,
    pytest.mark.opt_in("LCLSTREAM_UPSTREAM_PSIK_API", what="CHECKOUT_OF_FROBNITZEM_PSIK_API"),
]
LONG = 60.0
Reach = Callable[..., None]


@pytest.fixture(params=["remote_service", pytest.param("upstream_psik_api", marks=UPSTREAM)])
def service(request: pytest.FixtureRequest) -> str:
    """Our service and upstream's in turn; gives the URL."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def store(service: str, request: pytest.FixtureRequest) -> Iterator[JobStore]:
    """A store whose jobs go there, in v3 to ours, in what it speaks to upstream's."""
    is_ours = "remote_service" in request.node.name
    attributes = {"remote_url": service, "grace_seconds": "2", "patience_seconds": "20"}
    attributes |= {"dialect": "v3"} if is_ours else {}
    config = BackendConfig(type="psik", attributes=attributes)
    with tempfile.TemporaryDirectory(prefix="lclstream-jobs-") as folder:
        yield JobStore(Path(folder), {"default": config})


def _submitted(store: JobStore, script: str, **spec: Any) -> Job:
    job = store.create(JobSpec(script=script, **spec))
    job.submit()
    return job


def _there(service: str, native_id: str, path: str) -> httpx2.Response:
    dialect, _, jobid = native_id.partition("/")
    return httpx2.get(f"{service}/{dialect}/jobs/{jobid}{path}", trust_env=False)


def _native_id(job: Job) -> str:
    attempt = job.pending_attempt()
    assert attempt is not None
    assert attempt.native_id is not None
    return attempt.native_id


def _pid_there(service: str, native_id: str, wait_for: Any) -> int:
    def written() -> str:
        answer = _there(service, native_id, "/files/pid")
        return answer.text.strip() if answer.is_success else ""

    return int(wait_for(written, timeout_seconds=20))


def test_the_dialect_is_found_out(
    service: str, request: pytest.FixtureRequest, tmp_path: Path, reach: Reach
) -> None:
    config = BackendConfig(type="psik", attributes={"remote_url": service})
    job = _submitted(JobStore(tmp_path / "jobs", {"default": config}), "true")
    if "remote_service" in request.node.name:
        assert "/" not in _native_id(job)
    else:
        assert _native_id(job).startswith("v2/")
    reach(job, timeout_seconds=LONG)
    assert job.state() is JobState.completed


def test_what_is_no_psik_api_is_refused(tmp_path: Path, iri: Any) -> None:
    config = BackendConfig(type="psik", attributes={"remote_url": iri.url})
    with pytest.raises(LCLStreamError, match="none of the dialects"):
        _submitted(JobStore(tmp_path / "jobs", {"default": config}), "true")


def test_environment_and_output_arrive_byte_by_byte(store: JobStore, reach: Reach) -> None:
    value = 'a\'b "c" $HOME `id` \\ \n é'
    job = _submitted(store, r'printf "%s" "$X"; printf "\377\000" >&2', environment={"X": value})
    reach(job, timeout_seconds=LONG)
    assert job.log("stdout.1") == value
    assert job.read_log("stderr.1", 0, None) == b"\xff\x00"


def test_cancel_ends_all_of_it(service: str, store: JobStore, reach: Reach, wait_for: Any) -> None:
    job = _submitted(store, "trap '' TERM; sleep 300 & echo $! > pid; sleep 300")
    reach(job, "active", timeout_seconds=LONG)
    pid = _pid_there(service, _native_id(job), wait_for)
    job.cancel("not wanted")
    reach(job, timeout_seconds=LONG)
    assert job.last().info == "not wanted"
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), timeout_seconds=10)


def test_the_time_limit_is_kept(store: JobStore, reach: Reach) -> None:
    job = store.create(
        JobSpec.model_validate({"script": "sleep 300", "resources": {"duration": "2s"}})
    )
    job.submit()
    reach(job, timeout_seconds=LONG)
    assert job.state() is JobState.failed
    assert "time limit" in job.last().info


@pytest.mark.slow
def test_a_killed_carrier_is_noticed(
    service: str, store: JobStore, reach: Reach, wait_for: Any
) -> None:
    job = _submitted(store, "echo $PPID > pid; sleep 300")
    reach(job, "active", timeout_seconds=LONG)
    os.kill(_pid_there(service, _native_id(job), wait_for), signal.SIGKILL)
    reach(job, timeout_seconds=LONG)
    assert job.state() is JobState.failed
    assert "no sign of life" in job.last().info


def test_callbacks_bear_our_id(
    store: JobStore, reach: Reach, processes: Any, wait_for: Any, free_port: Any, tmp_path: Path
) -> None:
    port, journal = free_port(), tmp_path / "journal"
    running = processes.start([sys.executable, callback_receiver.__file__, str(port), journal, "k"])
    wait_for(lambda: "listening" in running.stdout)
    job = _submitted(store, "true", callback=f"http://127.0.0.1:{port}/cb", cb_secret="k")
    reach(job, timeout_seconds=LONG)
    rows = wait_for(lambda: len(found := callback_receiver.journal_rows(journal)) == 3 and found)
    assert [row["state"] for row in rows] == ["queued", "active", "completed"]
    assert {row["jobid"] for row in rows} == {job.jobid}
    wait_for(lambda: not watched(store.prefix))


def test_a_job_that_the_service_forgot_has_failed(store: JobStore, reach: Reach) -> None:
    job = _submitted(store, "sleep 5")
    attempt = job.pending_attempt()
    assert attempt is not None
    dialect = _native_id(job).partition("/")[0]
    # As if the service's disk had been cleaned.
    attempt.job.native(1).write_text(json.dumps({"native_id": f"{dialect}/1700000000.123"}))
    reach(job, timeout_seconds=LONG)
    assert "no longer knows job" in job.last().info
