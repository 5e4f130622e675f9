"""Issue 4, line 8: a task that waits for a SLURM job outlives the parts of Airflow around it.

A real Airflow of four processes and a real SLURM, one of each for all tests here. What SLURM was
asked for is counted by SLURM itself: every submission of a run bears the run's id as its name.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from airflow_provider_lclstream.psik.models import BackendConfig
from airflow_provider_lclstream.psik.store import Job, JobStore
from airflow_provider_lclstream.sim.airflow_instance import (
    AirflowInstance,
    AirflowSettings,
    find_port,
)
from airflow_provider_lclstream.sim.slurm_cluster import SlurmCluster

pytestmark = [pytest.mark.slurm, pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(300)]

DAGS = Path(__file__).parent / "dags"
GOES_ON = "another process will resume it"
LOCAL_BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"
CANCEL_SECONDS = 20.0
"""SLURM must know by then; on a quiet machine it takes a few seconds."""


class Run:
    """One DAG run with its one task, its job and what SLURM knows of it."""

    def __init__(self, live: Live, dag_id: str, run_id: str) -> None:
        self.live, self.run_id = live, run_id
        self.path = f"/dags/{dag_id}/dagRuns/{run_id}"
        body = {"logical_date": None, "dag_run_id": run_id, "conf": {}}
        live.until(lambda: live.call("POST", f"/dags/{dag_id}/dagRuns", body), f"{dag_id} starts")

    @property
    def state(self) -> str:
        return self.live.call("GET", self.path)["state"]

    @property
    def task(self) -> dict[str, Any]:
        return self.live.call("GET", f"{self.path}/taskInstances/job")

    def jobs(self) -> list[Job]:
        return [job for job in self.live.store.jobs() if job.spec.name == self.run_id]

    def in_slurm(self) -> list[str]:
        """The state of every job that SLURM was ever handed for this run."""
        options = ["-h", "--states=all", f"--name={self.run_id}", "-o", "%T"]
        return self.live.cluster.run(["squeue", *options]).split()

    def times_taken_up(self) -> int:
        """How many triggerers began to run its trigger: each writes a log of its own."""
        found = self._logs("*.trigger.*.log")
        return sum(" starting" in path.read_text() for path in found)

    def log(self, try_number: int) -> str:
        """What the task logged on one of its tries."""
        return "".join(path.read_text() for path in self._logs(f"attempt={try_number}.log"))

    def is_taken_over(self, before: int) -> bool:
        """Whether a later try than that has taken the job up again."""
        number = self.task["try_number"]
        return number > before and "resuming job" in self.log(number)

    def signal_worker(self, how: signal.Signals, *, with_supervisor: bool = True) -> None:
        """Signal the process of the task and the one that watches it, as a service manager does."""
        pid = self.task["pid"]
        stat = Path(f"/proc/{pid}/stat").read_text()
        supervisor = int(stat.rpartition(")")[2].split()[1])
        for one in (supervisor, pid) if with_supervisor else (pid,):
            os.kill(one, how)

    def _logs(self, pattern: str) -> list[Path]:
        logs = self.live.instance.settings.home / "logs"
        return list(logs.glob(f"*/run_id={self.run_id}/task_id=job/{pattern}"))

    def until_it_waits(self, state: str) -> Run:
        """Wait until the task waits, there, and SLURM runs its job."""

        def waits() -> bool:
            has_begun = state == "running" or self.times_taken_up() >= 1
            return has_begun and self.task["state"] == state and self.in_slurm() == ["RUNNING"]

        self.live.until(waits, f"the task of {self.run_id} waits")
        return self

    def mark(self, path: str, body: dict[str, str]) -> float:
        """Mark the run or the task; seconds until SLURM knows that the job is canceled."""
        began = time.monotonic()
        assert self.live.call("PATCH", f"{self.path}{path}", body)
        self.live.until(
            lambda: self.in_slurm() == ["CANCELLED"],
            f"SLURM cancels the job of {self.run_id}",
            CANCEL_SECONDS,
        )
        return time.monotonic() - began

    def fail(self) -> float:
        """Mark the run as failed, as the button of the user interface does."""
        took = self.mark("", {"state": "failed"})
        assert (self.state, self.task["state"]) == ("failed", "failed")
        return took

    def succeeds_with_one_job(self) -> int:
        """Let the job end, look that all is well then, and count its submissions."""
        for job in self.jobs():
            (job.work / "go").touch()
        self.live.until(lambda: self.state in {"success", "failed"}, f"{self.run_id} ends")
        assert self.state == "success"
        assert self.in_slurm() == ["COMPLETED"]
        (job,) = self.jobs()
        states = [str(row.state) for row in job.history()]
        assert states == ["new", "queued", "active", "completed"]
        return len(self.in_slurm())


class Live:
    """The instance, its REST interface, SLURM, and the folder of jobs."""

    def __init__(
        self, instance: AirflowInstance, cluster: SlurmCluster, store: JobStore, wait_for: Any
    ) -> None:
        self.instance, self.cluster, self.store = instance, cluster, store
        self._wait_for = wait_for
        self._http = httpx2.Client(base_url=instance.settings.url, timeout=60, trust_env=False)
        user = {"username": "admin", "password": instance.settings.password}
        token = self._http.post("/auth/token", json=user).json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The document that a request is answered with; None where it is refused."""
        answer = self._http.request(method, f"/api/v2{path}", json=body)
        return answer.json() if answer.is_success else None

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
        self._wait_for(condition, timeout_seconds=seconds, what=what)

    def close(self) -> None:
        self._http.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    with pytest.MonkeyPatch.context() as patch, SlurmCluster(2) as cluster:
        patch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
        yield cluster


@pytest.fixture(scope="module")
def live(
    cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory, wait_for: Any
) -> Iterator[Live]:
    home = tmp_path_factory.mktemp("restarts")
    store = JobStore(home / "jobs", {"slurm": BackendConfig(type="slurm")})
    site = {"psik": {"prefix": str(store.prefix), "backends": {"slurm": {"type": "slurm"}}}}
    (home / "site.yaml").write_text(yaml.safe_dump(site))
    bundle = {"name": "dags", "classpath": LOCAL_BUNDLE, "kwargs": {"path": str(DAGS)}}
    options = {
        ("lclstream", "site_file"): str(home / "site.yaml"),
        ("dag_processor", "dag_bundle_config_list"): json.dumps([bundle]),
        # How soon a part that is gone is missed: seconds instead of minutes.
        ("triggerer", "triggerer_health_check_threshold"): "8",
        ("triggerer", "job_heartbeat_sec"): "1",
        ("scheduler", "scheduler_health_check_threshold"): "8",
        ("scheduler", "scheduler_heartbeat_sec"): "1",
        ("scheduler", "orphaned_tasks_check_interval"): "2",
        ("workers", "min_heartbeat_interval"): "2",
    }
    port = find_port()
    settings = AirflowSettings(home=home / "airflow", port=port, options=options, parallel_tasks=8)
    instance, running = AirflowInstance(settings), None
    try:
        instance.prepare()
        instance.start()
        instance.wait_healthy(120)
        running = Live(instance, cluster, store, wait_for)
        yield running
    finally:
        instance.stop()
        if running is not None:
            running.close()
        for job in store.jobs():
            job.cancel()


def test_a_killed_triggerer(live: Live, figure: Callable[[str, Any], None]) -> None:
    waiting = Run(live, "deferred", "triggerer-killed")
    marked = Run(live, "deferred", "triggerer-killed-and-marked")
    gone = Run(live, "deferred", "triggerer-gone-and-marked")
    for run in (waiting, marked, gone):
        run.until_it_waits("deferred")
    before = marked.times_taken_up()
    live.instance.components["triggerer"].kill()
    figure("seconds_to_cancel_while_the_triggerer_is_away", gone.fail())
    began = time.monotonic()
    live.instance.components["triggerer"].start()
    live.until(lambda: marked.times_taken_up() > before, "the trigger is taken up again")
    figure("seconds_until_the_trigger_is_taken_up_again", time.monotonic() - began)
    figure("seconds_to_cancel_right_after_the_triggerer_came_back", marked.fail())
    figure("submissions_with_a_killed_triggerer", waiting.succeeds_with_one_job())


def test_a_killed_scheduler(live: Live, figure: Callable[[str, Any], None]) -> None:
    """One task waits in the triggerer, four on workers: killed, told to end, and left alone."""
    lost = {
        "killed_worker": Run(live, "on_a_worker", "scheduler-and-worker-killed"),
        "ended_worker": Run(live, "on_a_worker", "scheduler-killed-worker-told-to-end"),
        "living_worker": Run(live, "on_a_worker", "scheduler-killed-worker-lives"),
        "living_worker_without_retries": Run(
            live, "on_a_worker_without_retries", "scheduler-killed-no-retries"
        ),
    }
    deferred = Run(live, "deferred", "scheduler-killed-deferred").until_it_waits("deferred")
    tries = {run: run.until_it_waits("running").task["try_number"] for run in lost.values()}
    live.instance.components["scheduler"].kill(spare_children=True)
    lost["killed_worker"].signal_worker(signal.SIGKILL)
    lost["ended_worker"].signal_worker(signal.SIGTERM)
    live.instance.components["scheduler"].start()
    for run, number in tries.items():
        live.until(lambda r=run, n=number: r.is_taken_over(n), f"{run.run_id} is taken over", 90)
    for name in [name for name in lost if name != "killed_worker"]:
        run = lost[name]
        live.until(lambda r=run: GOES_ON in r.log(tries[r]), f"the old worker of {name} ends")
    for name, run in {"deferred": deferred, **lost}.items():
        figure(f"submissions_with_a_killed_scheduler_{name}", run.succeeds_with_one_job())
        figure(f"tries_with_a_killed_scheduler_{name}", run.task["try_number"])


def test_a_run_marked_failed(live: Live, figure: Callable[[str, Any], None]) -> None:
    runs = {
        "deferred": Run(live, "deferred", "marked-deferred"),
        "on_a_worker": Run(live, "on_a_worker", "marked-on-a-worker"),
    }
    for name, run in runs.items():
        run.until_it_waits("deferred" if name == "deferred" else "running")
        figure(f"seconds_to_cancel_{name}", run.fail())


def test_a_run_marked_failed_between_two_tries(
    live: Live, figure: Callable[[str, Any], None]
) -> None:
    """Its worker is lost and its next try has not begun: no process and no trigger to be told."""
    run = Run(live, "with_long_pauses", "marked-between-two-tries").until_it_waits("running")
    run.signal_worker(signal.SIGKILL, with_supervisor=False)
    live.until(lambda: run.task["state"] == "up_for_retry", "the loss of the worker is noticed")
    assert run.in_slurm() == ["RUNNING"]
    figure("seconds_to_cancel_between_two_tries", run.mark("", {"state": "failed"}))
    assert run.task["state"] == "skipped"


def test_a_task_marked_successful(live: Live, figure: Callable[[str, Any], None]) -> None:
    runs = {
        "deferred": Run(live, "deferred", "successful-deferred"),
        "on_a_worker": Run(live, "on_a_worker", "successful-on-a-worker"),
    }
    for name, run in runs.items():
        run.until_it_waits("deferred" if name == "deferred" else "running")
        took = run.mark("/taskInstances/job", {"new_state": "success"})
        figure(f"seconds_to_cancel_with_success_{name}", took)
        live.until(lambda run=run: run.state == "success", f"{run.run_id} ends")
