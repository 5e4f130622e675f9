"""Issue 4, line 1: on a real SLURM every end is the right state with the right reason, soon."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, ResourceSpec
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.sim.slurm_cluster import SlurmCluster

pytestmark = pytest.mark.slurm
RECONCILE_SECONDS = 0.5


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    with SlurmCluster(4) as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
        yield cluster


@pytest.fixture
def store(cluster: SlurmCluster) -> Iterator[JobStore]:
    with tempfile.TemporaryDirectory(prefix="lclstream-jobs-") as folder:
        yield JobStore(Path(folder), {"default": BackendConfig(type="slurm")})


def _lag(cluster: SlurmCluster, job: Job, limit_seconds: float) -> float:
    """Reconcile as a service does; seconds between SLURM's knowing the end and our record."""
    attempt = job.pending_attempt()
    assert attempt is not None
    native, known, deadline = attempt.native_id, 0.0, time.monotonic() + limit_seconds
    while True:
        asked = cluster.run(["squeue", "-h", "-t", "all", "-j", str(native), "-o", "%T"]).strip()
        if not known and asked not in {"RUNNING", "PENDING", "COMPLETING", "CONFIGURING"}:
            known = time.monotonic()
        if job.reconcile().is_final:
            return time.monotonic() - known if known else 0.0
        assert time.monotonic() < deadline, (asked, job.history())
        time.sleep(RECONCILE_SECONDS)


@pytest.mark.timeout(240)
def test_time_limit_is_told(cluster: SlurmCluster, store: JobStore, figure: Any) -> None:
    job = store.create(JobSpec(script="sleep 600", resources=ResourceSpec(duration=1)))
    job.submit()
    lag = _lag(cluster, job, 200)
    figure("seconds_after_slurm_knew_of_the_time_limit", lag)
    assert job.state() == "failed"
    assert "TIMEOUT" in job.last().info
    assert lag <= 10


@pytest.mark.timeout(120)
def test_a_killed_node_is_told(cluster: SlurmCluster, store: JobStore, figure: Any) -> None:
    job = store.create(JobSpec(script="sleep 600", resources=ResourceSpec(node_count=2)))
    job.submit()
    deadline = time.monotonic() + 20
    while job.reconcile() != "active" and time.monotonic() < deadline:
        time.sleep(0.1)
    cluster.kill_node(cluster.nodes[1])
    lag = _lag(cluster, job, 100)
    figure("seconds_after_slurm_knew_of_the_dead_node", lag)
    assert "NODE_FAIL" in job.last().info
    assert lag <= 10


@pytest.mark.repeats
@pytest.mark.timeout(600)
def test_every_other_end(passes: Callable[..., str]) -> None:
    """Two nodes with srun, cancel queued and running, memory, slurmctld gone, job purged."""
    passes("tests/integration/psik/test_slurm.py", "tests/unit/psik/test_slurm_states.py")
    assert "SLURM_CONF" not in os.environ
