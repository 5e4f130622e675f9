"""Ends the jobs of tasks that ended with no process of theirs left to do it.

Airflow tells the process of a task, or its trigger, when somebody marks the task. Some tasks have
neither: while the triggerer is away, before it has taken a trigger up, between two tries, and when
a worker was lost on the last try. Airflow itself (API server, scheduler) calls what stands here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

logger = logging.getLogger(__name__)
CANCEL_SECONDS = 20.0
Place = tuple[str, int]
"""A task's id and its map index."""
ENDED = frozenset({"success", "failed", "skipped"})
FIELDS = frozenset({"psik_conn_id", "job_spec"})
"""The template fields by which an operator that has a job of its own is known."""
_ENDING = "lclstream_jobs_to_end"
"""Where a session keeps what is to be canceled when it commits."""


@hookimpl
def on_task_instance_success(task_instance: Any) -> None:
    """It was marked: its job has to end."""
    _end_job_of(task_instance)


@hookimpl
def on_task_instance_failed(task_instance: Any) -> None:
    """It was marked, or its worker was lost on its last try."""
    _end_job_of(task_instance)


@hookimpl
def on_task_instance_skipped(task_instance: Any) -> None:
    """It was marked."""
    _end_job_of(task_instance)


@hookimpl
def on_dag_run_success(dag_run: Any) -> None:
    """Tasks between two tries are skipped with their run, without any notice."""
    _end_jobs_of_skipped(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: Any) -> None:
    """The same."""
    _end_jobs_of_skipped(dag_run)


def _end_job_of(task_instance: Any) -> None:
    # One that is tried again has its job taken up again.
    if _name_of(task_instance.state) in ENDED and (session := _session_of(task_instance)):
        place = {"task_id": task_instance.task_id, "map_index": task_instance.map_index}
        _end_after_commit(session, _jobs_of(session, task_instance, **place))


def _end_jobs_of_skipped(dag_run: Any) -> None:
    session = _session_of(dag_run)
    if session is None or not (started := _jobs_of(session, dag_run)):
        return
    skipped = dag_run.get_task_instances(state=["skipped"], session=session)
    places = {(task.task_id, task.map_index) for task in skipped}
    ended = {place: job for place, job in started.items() if place in places}
    _end_after_commit(session, ended)


def _name_of(state: Any) -> str:
    return str(getattr(state, "value", state))


def _session_of(row: Any) -> Session | None:
    """Its session with the database; a task's own process has none, and ends its job itself."""
    if not hasattr(row, "_sa_instance_state"):
        return None
    from sqlalchemy.orm import object_session

    return object_session(row)


def _jobs_of(session: Session, row: Any, **place: Any) -> dict[Place, tuple[str, str]]:
    """The connection and the id of each job that the tasks of a run, or one of them, started."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.xcom import XComModel

    from airflow_provider_lclstream.links import XCOM_JOBID

    found: dict[Place, tuple[str, str]] = {}
    place |= {"dag_id": row.dag_id, "run_id": row.run_id}
    for pushed in session.query(XComModel).filter_by(**place, key=XCOM_JOBID):
        place |= {"task_id": pushed.task_id, "map_index": pushed.map_index}
        rendered = session.query(RenderedTaskInstanceFields).filter_by(**place).first()
        fields: dict[str, Any] = rendered.rendered_fields if rendered is not None else {}
        if fields.keys() >= FIELDS:
            job = str(fields["psik_conn_id"]), str(pushed.value).strip('"')
            found[pushed.task_id, pushed.map_index] = job
    return found


def _end_after_commit(session: Session, jobs: Mapping[Place, tuple[str, str]]) -> None:
    """Cancel them once the end of their tasks is recorded, without holding Airflow up.

    A trigger that sees its job canceled before would have a deferred task go on. What is rolled
    back has not ended.
    """
    from sqlalchemy import event

    if jobs and _ENDING not in session.info:
        # Once for each session: they are used again, and never forget who listens.
        event.listen(session, "after_commit", _on_commit)
        event.listen(session, "after_transaction_end", _on_transaction_end)
    if jobs:
        session.info.setdefault(_ENDING, []).extend(jobs.values())


def _on_commit(session: Session) -> None:
    if not session.in_nested_transaction() and (found := session.info[_ENDING]):
        threading.Thread(target=_cancel, args=[found], name="ending", daemon=True).start()


def _on_transaction_end(session: Session, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.info[_ENDING] = []


def _cancel(found: Iterable[tuple[str, str]]) -> None:
    from airflow.sdk.exceptions import AirflowException

    from airflow_provider_lclstream.hooks.psik import PsikHook
    from lclstreamer.core.errors import LCLStreamError

    for connection, jobid in found:
        hook = PsikHook(connection)
        try:
            hook.cancel(jobid, reason="its task has ended", timeout_seconds=CANCEL_SECONDS)
        except (AirflowException, LCLStreamError, OSError) as error:
            logger.warning("job %s is left to its trigger: %s", jobid, error)
        finally:
            hook.close()
