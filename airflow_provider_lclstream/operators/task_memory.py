"""What a task remembers between its tries, and what tasks of one run know of each other's jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from airflow_provider_lclstream.links import XCOM_JOBID

if TYPE_CHECKING:
    from airflow.sdk import Context

ATTEMPT = "psik_attempt"
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
    """The job counter of one task instance, in Airflow's task state store.

    The store outlives retries and clearing. Where it is missing the counter stays at 1, so a
    cleared task finds its finished job again instead of running a second one: the safe mistake.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.get("task_state_store")

    def key(self) -> str:
        """The idempotency key of the job that this try is about."""
        ti, dag_run = task_instance(self._context), cast("Any", self._context)["dag_run"]
        # A run that was deleted and made again has the same id, but is not the same run.
        made = dag_run.run_after.timestamp()
        parts = (ti.dag_id, ti.run_id, f"{made:.6f}", ti.task_id, ti.map_index, self._attempt())
        return ":".join(["airflow", *map(str, parts)])

    def last_jobid(self) -> str | None:
        """Return the job of the try before this one, or None."""
        value = self._recall(JOBID)
        return value if isinstance(value, str) else None

    def remember(self, jobid: str) -> None:
        """Note the job's id before waiting: for other tasks (XCom) and for people ("Storage")."""
        task_instance(self._context).xcom_push(key=XCOM_JOBID, value=jobid)
        if self._store is not None:
            self._store.set(JOBID, jobid)

    def close(self) -> None:
        """Another try is another job: this one has given its final answer, or never will."""
        if self._store is not None:
            self._store.set(ATTEMPT, self._attempt() + 1)

    def _attempt(self) -> int:
        value = self._recall(ATTEMPT)
        return value if isinstance(value, int) else 1

    def _recall(self, key: str) -> Any:
        # The first try has nothing to recall, and to ask costs time before the first event.
        if self._store is None or task_instance(self._context).try_number == 1:
            return None
        return self._store.get(key)
