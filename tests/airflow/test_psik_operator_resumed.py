"""What becomes of a job when Airflow itself ends the wait: the trigger failed, or nobody ran it."""

from __future__ import annotations

import pytest
from task_instances import Task

from airflow_provider_lclstream.psik.models import BackendConfig
from airflow_provider_lclstream.psik.store import JobStore

SLEEPS = {"name": "sleeps", "backend": "local", "script": "exec sleep 600\n"}


@pytest.fixture
def start(site):
    """Submit a job as far as the wait; gives the operator and the job."""
    from airflow.sdk import DAG
    from airflow.sdk.exceptions import TaskDeferred

    from airflow_provider_lclstream.operators.psik import PsikJobOperator

    store, jobs = JobStore(site, {"local": BackendConfig()}), []

    def run(task):
        with DAG("dag", schedule=None):
            operator = PsikJobOperator(task_id="job", job_spec=SLEEPS)
        with pytest.raises(TaskDeferred):
            operator.execute(task.context())
        jobs.append(store.get(task.xcoms["jobid"]))
        return operator, jobs[-1]

    yield run
    for job in jobs:
        job.cancel()


@pytest.mark.parametrize("reason", ["TRIGGER_TIMEOUT", "TRIGGER_FAILURE"])
@pytest.mark.parametrize("is_last_try", [False, True])
def test_a_wait_that_airflow_ended_leaves_the_job_to_a_retry_or_cancels_it(
    start, reason, is_last_try
):
    from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR, TriggerFailureReason
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    task = Task()
    task.try_number = task.max_tries + 1 if is_last_try else 1
    operator, job = start(task)
    given = {"error": TriggerFailureReason[reason]}
    with pytest.raises(AirflowException, match=r"waiting for job .* failed") as failed:
        operator.resume_execution(TRIGGER_FAIL_REPR, given, task.context())
    assert not isinstance(failed.value, AirflowFailException), "a retry may help"
    assert (job.reconcile() == "canceled") is is_last_try
    task.retry()
    assert (start(task)[1].jobid == job.jobid) is not is_last_try
