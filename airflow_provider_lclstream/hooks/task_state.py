"""What Airflow says about the state of a task; for operator and trigger alike."""

from __future__ import annotations

from typing import Any

ENDED_TASK_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""A task in one of these will not come back for its job."""


def task_state(ti: Any) -> str | None:
    """Ask Airflow for the state of a task instance; None is that of one that is about to run.

    Raises:
        AirflowRuntimeError: Airflow refused to answer.
        OSError: the process between here and Airflow is gone.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    ).get(ti.run_id, {})
    key = ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
    if key not in states:
        return "removed"
    state = states[key]
    return None if state is None else str(getattr(state, "value", state))
