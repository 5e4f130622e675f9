"""What a task remembers between its tries, and what tasks of one run know of each other's jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from airflow_provider_lclstream.hooks.task_state import ENDED_TASK_STATES, task_state
from airflow_provider_lclstream.links import (
    DAG_VARIABLE,
    RUN_VARIABLE,
    TASK_VARIABLE,
    XCOM_JOBID,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_lclstream.psik.models import JobSpec

GIVEN_UP = "psik_jobs_given_up"
JOBID = "psik_jobid"


def task_instance(context: Context) -> Any:
    """Return the running task instance; every context of a running task has one."""
    return cast("Any", context)["ti"]


def jobid_of(context: Context, task_id: str) -> str | None:
    """Return the job that a task of this DAG run started, or None."""
    ti = task_instance(context)
    found = ti.xcom_pull(task_ids=task_id, key=XCOM_JOBID, map_indexes=ti.map_index)
    return str(found) if found else None


class TaskMemory:
    """Which job is the one of this task instance.

    A retry is about the same job as the try before it: Airflow retries not only what failed. Its
    worker may be lost, and with a quick job 3.3.2 at times mistakes the end of the deferring for
    the end of the task and runs a task again that had succeeded. A cleared task is about a new
    job; Airflow tells by raising ``max_tries``. A job that was given up (see `give_up`) is counted
    in the task state store, which outlives tries. Where Airflow has no such store, a retry finds
    the job given up: the safe mistake.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.get("task_state_store")

    def key(self) -> str:
        """The idempotency key of the job that this try is about."""
        ti, dag_run = task_instance(self._context), cast("Any", self._context)["dag_run"]
        # A run that was deleted and made again has the same id, but is not the same run.
        made = dag_run.run_after.timestamp()
        task = (ti.dag_id, ti.run_id, f"{made:.6f}", ti.task_id, ti.map_index)
        return ":".join(map(str, ("airflow", *task, ti.max_tries, self._given_up())))

    def told_to(self, spec: JobSpec) -> JobSpec:
        """The job, with whose it is in its environment; the job's page shows it for its DAG only.

        The number of the try is left out: a later one takes the same job up.
        """
        ti = task_instance(self._context)
        told = {DAG_VARIABLE: ti.dag_id, TASK_VARIABLE: ti.task_id, RUN_VARIABLE: ti.run_id}
        return spec.model_copy(update={"environment": {**spec.environment, **told}})

    def last_jobid(self) -> str | None:
        """Return the job of the try before this one, or None."""
        value = self._recall(JOBID)
        return value if isinstance(value, str) else None

    def remember(self, jobid: str) -> None:
        """Note the job's id before waiting: for other tasks (XCom) and for people ("Storage")."""
        task_instance(self._context).xcom_push(key=XCOM_JOBID, value=jobid)
        if self._store is not None:
            self._store.set(JOBID, jobid)

    def give_up(self) -> None:
        """From now on another try is another job."""
        if self._store is not None:
            self._store.set(GIVEN_UP, self._given_up() + 1)

    def goes_on(self, jobid: str) -> bool:
        """Whether the task will want its job when the process at hand has ended.

        Airflow ends the process of a task that somebody marked, but also one whose task it has
        given to another worker, because the scheduler was gone for a while; and a machine that
        shuts down ends every process.
        """
        ti = task_instance(self._context)
        state = task_state(ti)
        if state != "running":
            return state not in ENDED_TASK_STATES
        # Running, but here? A process whose task was given away finds nothing of it any more.
        is_here = self._store is None or self._store.get(JOBID) == jobid
        return not is_here or ti.try_number <= ti.max_tries

    def _given_up(self) -> int:
        value = self._recall(GIVEN_UP)
        return value if isinstance(value, int) else 0

    def _recall(self, key: str) -> Any:
        # The first try has nothing to recall, and to ask costs time before the first event.
        if self._store is None or task_instance(self._context).try_number == 1:
            return None
        return self._store.get(key)
