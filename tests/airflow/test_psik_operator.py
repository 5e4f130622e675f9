"""What the job operator does with the tries of a task: real jobs, in a folder and on a service.

Airflow's own part (XComs, the task state store) stands here as two dictionaries; the tests in
`test_psik_operator_in_dags.py` and `test_live_airflow.py` use the real ones.
"""

from __future__ import annotations

import time

import pytest
from task_instances import Task

from airflow_provider_lclstream.psik.models import BackendConfig
from airflow_provider_lclstream.psik.store import JobStore

SLEEPS = {"name": "sleeps", "backend": "local", "script": "exec sleep 600\n"}
QUICK = {"name": "quick", "backend": "local", "script": "true\n"}


@pytest.fixture
def task():
    return Task()


@pytest.fixture
def make(place):
    """Make the operator; it waits in this process unless told otherwise."""
    from airflow.sdk import DAG

    from airflow_provider_lclstream.operators.psik import PsikJobOperator

    def operator(job_spec, **kwargs):
        with DAG("dag", schedule=None):
            return PsikJobOperator(
                task_id="job",
                job_spec=job_spec,
                poll_interval=0.05,
                psik_conn_id=place.conn_id,
                **kwargs,
            )

    return operator


@pytest.fixture
def store(place):
    jobs = JobStore(place.prefix, {"local": BackendConfig()})
    yield jobs
    for job in jobs.jobs():
        job.cancel()


@pytest.fixture
def deferred(place):
    """Execute until the operator leaves the worker; gives the trigger it left behind."""
    from airflow.sdk.exceptions import TaskDeferred

    def execute(operator, task):
        with pytest.raises(TaskDeferred) as left:
            operator.execute(task.context())
        assert left.value.method_name == "execute_complete"
        return left.value

    return execute


def test_a_retry_takes_up_the_job_of_the_lost_worker(make, task, store, deferred):
    before = len(store.jobs())
    first = deferred(make(SLEEPS), task).trigger.jobid
    task.retry()
    assert deferred(make(SLEEPS), task).trigger.jobid == first
    assert task.xcoms["jobid"] == first
    assert len(store.jobs()) == before + 1


def test_a_worker_lost_between_making_and_submitting_still_gives_one_job(make, task, store):
    operator = make(QUICK, deferrable=False)
    from airflow_provider_lclstream.operators.task_memory import TaskMemory

    spec, _ = operator.make_job(task.context())
    key = TaskMemory(task.context()).key()
    made = operator.hook.access.create(spec, idempotency_key=key, submit=False)
    assert made.state == "new"
    assert operator.execute(task.context())["jobid"] == made.jobid


@pytest.mark.parametrize("script", ["true", "exit 3"])
def test_a_retry_of_a_finished_task_hands_in_the_same_job(make, task, script):
    """Under load Airflow retries tasks whose success it mistook: apache/airflow's executor race."""
    from airflow.sdk.exceptions import AirflowFailException

    spec, ends = {**QUICK, "script": f"{script}\n"}, []
    for _ in range(2):
        operator = make(spec, deferrable=False, retry_failed_job=False)
        try:
            ends.append(operator.execute(task.context())["jobid"])
        except AirflowFailException:
            ends.append(task.xcoms["jobid"])
        task.retry()
    assert ends[0] == ends[1]


def test_clearing_a_finished_task_runs_a_new_job(make, task):
    first = make(QUICK, deferrable=False).execute(task.context())
    task.clear()
    second = make(QUICK, deferrable=False).execute(task.context())
    assert first["state"] == second["state"] == "completed"
    assert first["jobid"] != second["jobid"]


def test_a_deleted_run_made_again_is_another_run(make, task, deferred):
    first = deferred(make(SLEEPS), task).trigger.jobid
    again = Task(task.run_id)
    assert deferred(make(SLEEPS), again).trigger.jobid != first


def test_clearing_a_service_ends_its_predecessor(make, task, store):
    spec = {**SLEEPS, "script": "echo '{}' > ready.json\nexec sleep 600\n"}
    for _ in range(2):
        operator = make(spec, ready_file="ready.json", deferrable=False)
        assert operator.execute(task.context()) == {}
        task.clear()
    states = [str(job.reconcile()) for job in store.jobs()[:2]]
    assert states == ["active", "canceled"]


def test_a_task_that_was_marked_failed_and_cleared_runs_again(make, task, store, deferred):
    first = deferred(make(SLEEPS), task).trigger.jobid
    store.get(first).cancel()
    task.clear()
    second = deferred(make(SLEEPS), task).trigger.jobid
    assert second != first
    assert store.get(second).reconcile() in {"queued", "active"}


def test_a_failed_job_may_be_retried_with_a_new_job(make, task):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    spec = {**QUICK, "script": "exit 3\n"}
    with pytest.raises(AirflowException, match="exit code 3") as failed:
        make(spec, deferrable=False).execute(task.context())
    assert not isinstance(failed.value, AirflowFailException)
    first = task.xcoms["jobid"]
    task.retry()
    with pytest.raises(AirflowException):
        make(spec, deferrable=False).execute(task.context())
    assert task.xcoms["jobid"] != first


def test_a_failed_job_is_final_where_running_twice_would_harm(make, task):
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="exit code 3"):
        make({**QUICK, "script": "exit 3\n"}, deferrable=False, retry_failed_job=False).execute(
            task.context()
        )


def test_at_its_deadline_a_job_is_canceled(make, task, store):
    from airflow.sdk.exceptions import AirflowException

    with pytest.raises(AirflowException, match="deadline"):
        make(SLEEPS, deferrable=False, timeout_seconds=0.5).execute(task.context())
    assert store.get(task.xcoms["jobid"]).reconcile() == "canceled"


def test_a_service_that_ends_before_it_is_ready_is_a_failure(make, task):
    from airflow.sdk.exceptions import AirflowException

    with pytest.raises(AirflowException, match="is completed"):
        make(QUICK, ready_file="ready.json", deferrable=False).execute(task.context())


def test_a_job_whose_guard_is_gone_is_canceled(make, task, store, monkeypatch):
    from airflow.sdk.exceptions import AirflowException

    from airflow_provider_lclstream.hooks import job_watch

    monkeypatch.setattr(job_watch, "GUARD_GRACE_SECONDS", 0.2)
    guard = make(QUICK, deferrable=False).execute(Task("guard").context())["jobid"]
    with pytest.raises(AirflowException, match=f"{guard}, which it depends on, is completed"):
        make(SLEEPS, deferrable=False, guard_jobid=guard).execute(task.context())
    assert store.get(task.xcoms["jobid"]).reconcile() == "canceled"


@pytest.mark.parametrize(
    "event",
    [None, "final", {}, {"status": "final"}, {"status": "odd"}],
)
def test_an_event_that_is_not_understood_is_no_success(make, task, deferred, event):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    operator = make(SLEEPS)
    deferred(operator, task)
    if isinstance(event, dict) and event.get("status") == "odd":
        event["jobid"] = task.xcoms["jobid"]
    with pytest.raises(AirflowException, match="was not understood") as failed:
        operator.execute_complete(task.context(), event)
    assert not isinstance(failed.value, AirflowFailException), "a retry resumes the job"


def test_a_late_event_about_another_job_does_not_end_the_wait(make, task, deferred, store):
    from airflow.sdk.exceptions import TaskDeferred

    operator = make(SLEEPS)
    deferred(operator, task)
    event = {"status": "final", "jobid": "1.000000001", "state": "canceled", "message": "late"}
    with pytest.raises(TaskDeferred) as left:
        operator.execute_complete(task.context(), event)
    assert left.value.trigger.jobid == task.xcoms["jobid"]
    assert not store.get(task.xcoms["jobid"]).reconcile().is_final


def test_the_event_alone_is_not_believed(make, task, deferred, store):
    from airflow.sdk.exceptions import AirflowException

    operator = make(SLEEPS)
    deferred(operator, task)
    event = {"status": "final", "jobid": task.xcoms["jobid"], "message": "completed, they say"}
    with pytest.raises(AirflowException, match=r"is (queued|active)"):
        operator.execute_complete(task.context(), event)
    assert store.get(task.xcoms["jobid"]).reconcile() == "canceled", "nobody would wait for it"


def test_a_lost_wait_gives_the_job_up_only_on_the_last_try(make, task, deferred, store):
    from airflow.sdk.exceptions import AirflowException

    operator = make(SLEEPS)
    deferred(operator, task)
    jobid = task.xcoms["jobid"]
    event = {"status": "error", "jobid": jobid, "message": "the disk is gone"}
    with pytest.raises(AirflowException, match="the disk is gone"):
        operator.execute_complete(task.context(), event)
    assert not store.get(jobid).reconcile().is_final
    task.try_number = 3
    with pytest.raises(AirflowException):
        operator.execute_complete(task.context(), event)
    assert store.get(jobid).reconcile() == "canceled"


@pytest.fixture
def answers(monkeypatch):
    """What Airflow says about the state of the task; an exception is raised."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    def give(answer):
        def get_task_states(**_):
            if isinstance(answer, Exception):
                raise answer
            return {"run": {"job": answer}}

        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", get_task_states)

    return give


@pytest.mark.parametrize(
    ("answer", "tries_left", "is_given_away", "ends"),
    [
        ("failed", True, False, True), ("success", True, False, True),
        ("scheduled", False, True, False), ("queued", False, True, False),
        (None, False, True, False),  # the scheduler has reset it: it is about to run again
        ("restarting", True, False, False),  # cleared: its new try cancels the job itself
        ("running", False, True, False),  # on another worker
        ("running", True, False, False),  # this machine shuts down: a retry takes the job up
        ("running", False, False, True),  # nobody will
        (OSError("the supervisor is gone"), True, False, True),
    ],
)  # fmt: skip
def test_the_end_of_its_process_cancels_the_job_unless_the_task_goes_on(
    make, task, deferred, store, answers, wait_for, answer, tries_left, is_given_away, ends
):
    operator, task.try_number = make(SLEEPS), 1 if tries_left else 3
    deferred(operator, task)
    job = store.get(task.xcoms["jobid"])
    answers(answer)
    if is_given_away:
        task.store.clear()  # a process that is not the task's any more is shown nothing of it
    operator.on_kill()
    if ends:
        wait_for(lambda: job.reconcile() == "canceled", what="the cancel")
    else:
        assert not job.reconcile().is_final


def test_the_end_of_its_time_cancels_the_job(make, task, deferred, store, answers, wait_for):
    from airflow.sdk.exceptions import AirflowTaskTimeout

    def run_out_of_time():
        raise AirflowTaskTimeout

    operator = make(SLEEPS)
    deferred(operator, task)
    answers("running")
    try:
        run_out_of_time()
    except AirflowTaskTimeout:
        operator.on_kill()
    job = store.get(task.xcoms["jobid"])
    wait_for(lambda: job.reconcile() == "canceled", what="the cancel")


def test_a_process_that_is_ended_while_it_holds_a_lock_still_cancels(
    make, task, deferred, store, answers, monkeypatch, wait_for
):
    """The signal may come while the main thread has the job's record locked."""
    from airflow_provider_lclstream.operators import psik
    from airflow_provider_lclstream.psik.state_log import StateLog

    monkeypatch.setattr(psik, "KILL_SECONDS", 0.2)
    operator = make(SLEEPS)
    deferred(operator, task)
    answers("failed")
    job = store.get(task.xcoms["jobid"])
    with StateLog(job.folder / "status.csv").locked():
        operator.on_kill()
    wait_for(lambda: job.reconcile() == "canceled", what="the cancel")


def test_a_secret_in_a_dag_is_refused(make):
    from pydantic import SecretStr

    from airflow_provider_lclstream.psik.models import JobSpec
    from lclstreamer.core.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="callback secret"):
        make({**QUICK, "cb_secret": "s"})
    with pytest.raises(ConfigurationError, match="callback secret"):
        make(JobSpec(script="true", cb_secret=SecretStr("s")))
    assert make(JobSpec(script="true")).job_spec["script"] == "true"


def test_too_much_to_return_is_refused(make, task):
    from airflow.sdk.exceptions import AirflowFailException

    spec = {**QUICK, "script": "echo '[1, 2, 3]' > a.json\n"}
    with pytest.raises(AirflowFailException, match="result_limit_bytes"):
        make(spec, deferrable=False, result_files=["*.json"], result_limit_bytes=5).execute(
            task.context()
        )


def test_waiting_in_the_worker_first_is_bounded(make, task, deferred):
    begun = time.monotonic()
    deferred(make(SLEEPS, wait_before_deferring=0.5), task)
    assert 0.5 <= time.monotonic() - begun < 5
