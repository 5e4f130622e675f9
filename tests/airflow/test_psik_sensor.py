"""The sensor that waits for somebody else's job: real jobs, in a folder and on a service."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import ConfigurationError


@pytest.fixture
def start(place):
    """Start a job that no task has started; gives it."""
    store, jobs = JobStore(place.prefix, {"local": BackendConfig()}), []

    def run(script):
        job = store.create(JobSpec(script=script, backend="local"), owner="airflow")
        job.submit()
        jobs.append(job)
        return job

    yield run
    for job in jobs:
        job.cancel()


@pytest.fixture
def make(place):
    """Make the sensor for a job."""
    from airflow.sdk import DAG

    from airflow_provider_lclstream.sensors.psik import PsikJobSensor

    def sensor(jobid, **kwargs):
        with DAG("dag", schedule=None):
            return PsikJobSensor(
                task_id="wait", jobid=jobid, psik_conn_id=place.conn_id, poke_interval=0.1, **kwargs
            )

    return sensor


def through_the_triggerer(sensor):
    """Execute a sensor: leave the worker, wait in the trigger, come back."""
    from airflow.sdk.exceptions import TaskDeferred

    async def first(trigger):
        events = [event async for event in trigger.run()]
        return events[0]

    try:
        return sensor.execute({}), None
    except TaskDeferred as left:
        event = asyncio.run(asyncio.wait_for(first(left.trigger), 30))
        arguments = {"event": event.payload}
        return sensor.resume_execution(left.method_name, arguments, {}), left.trigger


@pytest.mark.parametrize("deferrable", [True, False])
def test_it_waits_for_the_end(start, make, deferrable):
    job = start("sleep 0.7\n")
    result, trigger = through_the_triggerer(make(job.jobid, deferrable=deferrable))
    assert result == {"jobid": job.jobid, "state": "completed"}
    assert (trigger is not None) is deferrable


def test_a_job_that_has_ended_needs_no_triggerer(start, make, wait_for):
    job = start("exit 3\n")
    wait_for(lambda: job.reconcile().is_final, what="its end")
    result, trigger = through_the_triggerer(make(job.jobid, states="final"))
    assert (result["state"], trigger) == ("failed", None)


@pytest.mark.parametrize("deferrable", [True, False])
def test_another_end_is_a_failure_for_good_with_the_reason(start, make, deferrable):
    from airflow.sdk.exceptions import AirflowFailException

    job = start("sleep 0.5\nexit 3\n")
    with pytest.raises(
        AirflowFailException, match="failed: exit code 3; the sensor waits for completed"
    ):
        through_the_triggerer(make(job.jobid, deferrable=deferrable))


def test_a_state_that_was_passed_counts(start, make, wait_for):
    job = start("true\n")
    wait_for(lambda: job.reconcile().is_final, what="its end")
    assert through_the_triggerer(make(job.jobid, states=["active"]))[0]["state"] == "completed"


def test_it_times_out(start, make):
    from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

    job = start("exec sleep 600\n")
    for deferrable in (True, False):
        with pytest.raises(AirflowSensorTimeout):
            through_the_triggerer(make(job.jobid, timeout=0.5, deferrable=deferrable))
    with pytest.raises(AirflowSkipException):
        through_the_triggerer(make(job.jobid, timeout=0.5, soft_fail=True))
    assert not job.reconcile().is_final


def test_it_never_cancels_the_job(start, make, monkeypatch):
    from airflow.sdk.exceptions import TaskDeferred
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    job = start("exec sleep 600\n")
    sensor = make(job.jobid)
    with pytest.raises(TaskDeferred) as left:
        sensor.execute({})
    trigger = left.value.trigger
    trigger._task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", lambda **_: {"r": {"t": "failed"}})
    asyncio.run(trigger.on_kill())
    sensor.on_kill()
    time.sleep(0.3)
    assert job.reconcile() in {"queued", "active"}


def test_what_is_not_understood_is_no_success(start, make):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

    sensor = make(start("exec sleep 600\n").jobid)
    for event in (None, {}, {"status": "error", "jobid": sensor.jobid, "message": "lost"}):
        with pytest.raises(AirflowException, match=r"not understood|lost") as failed:
            sensor.execute_complete({}, event)
        assert not isinstance(failed.value, AirflowFailException)
    other = {"status": "reached", "jobid": "1.5", "state": "completed", "message": "late"}
    with pytest.raises(TaskDeferred):
        sensor.execute_complete({}, other)


def test_unknown_states_and_jobs_are_mistakes(make):
    from airflow.sdk.exceptions import AirflowFailException

    for states in ("done", [], ["completed", "done"]):
        with pytest.raises(ConfigurationError, match="are not job states"):
            make("1.5", states=states)
    with pytest.raises(AirflowFailException, match="there is no job"):
        make("1.5").execute({})


def test_the_example_waits_and_returns_the_result(run_dag, site):
    """`docs/examples/dag-jobs.py`, which the how-to shows."""
    store = JobStore(site, {"local": BackendConfig()})
    calibration = store.create(JobSpec(script="sleep 0.5\n", backend="local"))
    starter = threading.Timer(0.5, calibration.submit)
    starter.start()
    end = run_dag("count_hits", {"calibration": calibration.jobid, "run": 21, "backend": "local"})
    starter.join()
    assert end.state == "success"
    assert end.xcoms["calibrated", "return_value"]["state"] == "completed"
    assert end.xcoms["count", "return_value"]["files"] == {"hits.json": {"run": 21, "hits": 42}}
    assert "stdout.1: counting hits of run 21 above 4.5" in end.log
