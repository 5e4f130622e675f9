"""Jobs of tasks that Airflow ended where no process and no trigger was there to be told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sqlalchemy.orm import object_session

from airflow_provider_lclstream.psik.store import JobStore


@pytest.fixture
def rows(run_dag, site):
    """The rows of a DAG run and its task, whose job still runs; and that job."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    end = run_dag("job_serves")
    job = JobStore(site).get(end.xcoms["job", "jobid"])
    assert job.reconcile() == "active"
    with create_session() as session:
        dag_run = session.query(DagRun).filter_by(dag_id="job_serves").order_by(DagRun.id.desc())
        run = dag_run.first()
        yield run, run.get_task_instance("job", session=session), job
        session.rollback()
    job.cancel()


@pytest.mark.parametrize("state", ["failed", "skipped", "success"])
def test_a_task_that_was_ended_ends_its_job(rows, wait_for, state):
    from airflow_provider_lclstream.plugin import listener

    _, task, job = rows
    task.state = state
    getattr(listener, f"on_task_instance_{state}")(task_instance=task)
    assert _ending() == [], "a trigger that saw this now would have the task go on"
    object_session(task).commit()
    wait_for(lambda: job.reconcile() == "canceled", timeout_seconds=20, what="the cancel")


def test_an_end_that_is_rolled_back_ends_no_job(rows, wait_for):
    from airflow_provider_lclstream.plugin import listener

    _, task, job = rows
    session = object_session(task)
    task.state = "failed"
    listener.on_task_instance_failed(task_instance=task)
    session.rollback()
    session.commit()
    assert _ending() == []
    task.state = "failed"
    listener.on_task_instance_failed(task_instance=task)
    with session.begin_nested():
        session.flush()
    assert _ending() == [], "a savepoint is no commit"
    session.commit()
    wait_for(lambda: job.reconcile() == "canceled", timeout_seconds=20, what="the cancel")
    assert len(session.dispatch.after_commit) <= 1


def test_a_task_that_was_skipped_with_its_run_ends_its_job(rows, wait_for):
    from airflow_provider_lclstream.plugin import listener

    run, task, job = rows
    listener.on_dag_run_failed(dag_run=run)
    object_session(task).commit()
    assert _ending() == [], "its task succeeded: the service is meant to go on"
    task.state = "skipped"
    object_session(task).flush()  # as Airflow does before it tells
    listener.on_dag_run_failed(dag_run=run)
    object_session(task).commit()
    wait_for(lambda: job.reconcile() == "canceled", timeout_seconds=20, what="the cancel")


@pytest.mark.parametrize("state", ["up_for_retry", "running", "deferred", None])
def test_a_task_that_goes_on_keeps_its_job(rows, state):
    from airflow_provider_lclstream.plugin import listener

    _, task, _ = rows
    task.state = state
    listener.on_task_instance_failed(task_instance=task)
    object_session(task).commit()
    assert _ending() == []


def test_the_process_of_a_task_is_left_alone(rows):
    """There, too, Airflow calls listeners; the operator ends its job itself."""
    from airflow_provider_lclstream.plugin import listener

    listener.on_task_instance_failed(task_instance=SimpleNamespace(state="failed"))
    assert _ending() == []


def test_airflow_knows_of_it(airflow_db):
    from airflow.listeners.listener import get_listener_manager

    from airflow_provider_lclstream.plugin import listener

    assert get_listener_manager().pm.is_registered(listener)


def _ending():
    import threading

    return [thread for thread in threading.enumerate() if thread.name == "ending"]
