"""The slurm backend against a real SLURM of four nodes."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.layout import JobFolder
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, JobState, ResourceSpec
from airflow_provider_lclstream.psik.reconciler import reconcile
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.sim.slurm_cluster import SlurmCluster
from lclstreamer.core.errors import BadInputError

pytestmark = pytest.mark.slurm
Submit = Callable[..., Job]
Reach = Callable[..., None]


@pytest.fixture
def own_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """A cluster that a test may break."""
    with SlurmCluster(2) as cluster:
        monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
        yield cluster


def _states(job: Job) -> list[str]:
    return [str(row.state) for row in job.history()]


def _slurm_id(job: Job) -> str:
    attempt = job.pending_attempt()
    assert attempt is not None
    assert attempt.native_id is not None
    return attempt.native_id


def test_a_job_runs_over_two_nodes(slurm_store: JobStore, submit: Submit, reach: Reach) -> None:
    script = (
        "export MPIR_CVAR_CH4_NETMOD=ofi FI_PROVIDER=tcp\n"
        f"$mpirun --mpi=pmi2 {sys.executable} -c 'from mpi4py import MPI; import os;"
        'print("rank", MPI.COMM_WORLD.rank, "of", MPI.COMM_WORLD.size,'
        ' os.environ["SLURMD_NODENAME"])\''
    )
    job = submit(slurm_store, script, resources=ResourceSpec(node_count=2, processes_per_node=2))
    native = _slurm_id(job)
    reach(job, timeout_seconds=60)
    assert _states(job) == ["new", "queued", "active", "completed"], job.log("stderr.1")
    lines = sorted(job.log("stdout.1").splitlines())
    assert [line.split()[:4] for line in lines] == [["rank", str(n), "of", "4"] for n in range(4)]
    assert len({line.split()[4] for line in lines}) == 2
    assert job.history()[2].info == native


def test_exit_codes_and_closed_input(slurm_store: JobStore, submit: Submit, reach: Reach) -> None:
    job = submit(slurm_store, "cat; echo $jobid $nodes; exit 5")
    native = _slurm_id(job)
    reach(job)
    assert (job.state(), job.last().info) == (JobState.failed, "exit code 5")
    assert job.log("stdout.1") == f"{native} 1\n"


def test_cancel_running_ends_every_process(
    slurm_store: JobStore, submit: Submit, reach: Reach, wait_for: Callable[..., Any]
) -> None:
    job = submit(slurm_store, "touch here; setsid sleep 300 & sleep 300")
    wait_for((job.work / "here").exists)
    job.cancel("canceled by alice")
    reach(job)
    assert (job.state(), job.last().info) == (JobState.canceled, "canceled by alice")
    history = job.history()
    assert job.cancel() is JobState.canceled
    assert job.history() == history


def test_cancel_queued_and_why_it_waits(
    slurm_store: JobStore, submit: Submit, reach: Reach, wait_for: Callable[..., Any]
) -> None:
    job = submit(slurm_store, "true", attributes={"--begin": "now+1hour"})
    wait_for(lambda: job.reconcile() is JobState.queued and "BeginTime" in job.remark())
    job.cancel()
    reach(job)
    assert _states(job) == ["new", "queued", "canceled"]


def test_cancel_by_somebody_else_is_told(
    slurm_store: JobStore, submit: Submit, reach: Reach, slurm_cluster: SlurmCluster
) -> None:
    job = submit(slurm_store, "sleep 300")
    reach(job, "active")
    slurm_cluster.run(["scancel", _slurm_id(job)])
    reach(job)
    assert job.state() is JobState.canceled
    assert "SLURM CANCELLED" in job.last().info


def test_out_of_memory(slurm_store: JobStore, submit: Submit, reach: Reach) -> None:
    program = "x = bytearray(400 * 2**20); import time; time.sleep(20)"
    job = submit(
        slurm_store,
        f"{sys.executable} -c '{program}'",
        resources=ResourceSpec(memory=100 * 2**20),
    )
    reach(job, timeout_seconds=30)
    assert job.state() is JobState.failed
    assert "OUT_OF_MEMORY" in job.last().info


def test_a_refused_job_is_failed_with_slurms_words(slurm_store: JobStore) -> None:
    wrong = BackendConfig(type="slurm", queue_name="nosuch")
    store = JobStore(slurm_store.prefix, {"default": wrong})
    job = store.create(JobSpec(script="true"))
    with pytest.raises(BadInputError, match="sbatch"):
        job.submit()
    assert job.state() is JobState.failed
    assert "invalid partition specified: nosuch" in job.last().info
    assert "nosuch" in job.log("console")


def test_a_job_that_can_never_start_says_so_while_it_waits(
    slurm_store: JobStore, submit: Submit, wait_for: Callable[..., Any]
) -> None:
    job = submit(slurm_store, "true", resources=ResourceSpec(node_count=99))
    wait_for(lambda: job.reconcile() is JobState.queued and "PartitionNodeLimit" in job.remark())


def test_attributes_are_checked_before_anything_is_written(slurm_store: JobStore) -> None:
    with pytest.raises(BadInputError, match="not allowed"):
        slurm_store.create(JobSpec(script="true", attributes={"--wrap": "evil"}))
    assert slurm_store.jobs() == []


def test_an_environment_that_is_not_inherited(
    slurm_store: JobStore, submit: Submit, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUBMITTER", "yes")
    job = submit(slurm_store, "env", inherit_environment=False, environment={"X": "1"})
    heir = submit(slurm_store, "echo $SUBMITTER")
    reach(job)
    reach(heir)
    names = {line.split("=")[0] for line in job.log("stdout.1").splitlines()}
    assert {"X", "base", "jobndx", "SLURM_JOB_ID"} <= names
    assert "SUBMITTER" not in names
    assert heir.log("stdout.1") == "yes\n"


def test_a_hundred_jobs_take_two_questions(
    slurm_store: JobStore, submit: Submit, wait_for: Callable[..., Any], figure: Any
) -> None:
    jobs = [submit(slurm_store, "true") for _ in range(100)]
    backend = slurm_store.backend("default")
    asked: list[str] = []
    run = backend.commands.run  # type: ignore[attr-defined]
    backend.commands.run = lambda words, **rest: (asked.append(words[0]), run(words, **rest))[1]  # type: ignore[attr-defined]
    began = time.monotonic()
    reconcile(jobs)
    figure("seconds_to_reconcile_100_slurm_jobs", time.monotonic() - began)
    assert asked == ["squeue"]

    def all_over() -> bool:
        reconcile(jobs)
        return all(job.state().is_final for job in jobs)

    wait_for(all_over, timeout_seconds=90, what="the end of 100 jobs")
    assert {job.state() for job in jobs} == {JobState.completed}


def test_an_interrupted_submission_is_found_not_repeated(
    slurm_store: JobStore, submit: Submit, reach: Reach, slurm_cluster: SlurmCluster
) -> None:
    job = submit(slurm_store, "echo once >> count", attributes={"--begin": "now+2"})
    native = _slurm_id(job)
    # As if the submitter had died between sbatch's answer and its note of it.
    JobFolder(job.folder).native(1).unlink()
    job.reconcile()
    assert _slurm_id(job) == native
    reach(job, timeout_seconds=60)
    assert (job.work / "count").read_text() == "once\n"


@pytest.fixture
def own_store(own_cluster: SlurmCluster) -> Iterator[JobStore]:
    """A store on a cluster that a test may break."""
    with tempfile.TemporaryDirectory(prefix="lclstream-jobs-") as folder:
        yield JobStore(Path(folder), {"default": BackendConfig(type="slurm")})


def test_slurmctld_away_and_back(
    own_cluster: SlurmCluster, own_store: JobStore, submit: Submit, reach: Reach
) -> None:
    running = submit(own_store, "sleep 2; echo done")
    reach(running, "active")
    own_cluster.kill("slurmctld")
    # A job submitted meanwhile waits for SLURM; nothing is lost and nothing is claimed.
    late = submit(own_store, "echo late")
    assert late.reconcile() is JobState.queued
    assert "not taken yet" in late.remark()
    assert running.reconcile() in {JobState.active, JobState.completed}
    own_cluster.start_controller()
    for job in (running, late):
        reach(job, timeout_seconds=60)
        assert _states(job) == ["new", "queued", "active", "completed"]


def test_a_dead_node_is_the_reason(
    own_cluster: SlurmCluster, own_store: JobStore, submit: Submit, reach: Reach
) -> None:
    job = submit(own_store, "echo $SLURMD_NODENAME; sleep 300")
    reach(job, "active")
    own_cluster.kill_node(own_cluster.nodes[0])
    reach(job, timeout_seconds=60)
    assert job.state() is JobState.failed
    assert "NODE_FAIL" in job.last().info


@pytest.mark.parametrize("how", ["ended", "lost"])
def test_a_job_that_squeue_forgot(
    own_cluster: SlurmCluster, own_store: JobStore, submit: Submit, reach: Reach,
    wait_for: Callable[..., Any], how: str,
) -> None:  # fmt: skip
    job = submit(own_store, "kill -9 $$" if how == "ended" else "sleep 300")
    if how == "ended":
        wait_for(lambda: job.result() is not None)
        wait_for(lambda: "FAILED" in own_cluster.run(["squeue", "-h", "-t", "all", "-o", "%T"]))
    else:
        reach(job, "active")
    own_cluster.kill("slurmctld")
    if how == "lost":
        own_cluster.kill_node(own_cluster.nodes[0])
    # Without its state it has forgotten every job, and counts from 1 again.
    shutil.rmtree(own_cluster.folder / "state")
    (own_cluster.folder / "state").mkdir()
    own_cluster.start_controller("-c")
    stranger = submit(own_store, "sleep 1")
    assert _slurm_id(stranger) == "1"  # the same id again
    reach(job, timeout_seconds=15)
    assert job.state() is JobState.failed
    told = {"ended": "signal 9 (SIGKILL)", "lost": "no longer knows job 1"}[how]
    assert told in job.last().info
    if how == "ended":
        reach(stranger, timeout_seconds=30)
        assert stranger.state() is JobState.completed
