"""The sensor that waits for a job which another task or program started."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferred

from airflow_provider_lclstream.hooks.failures import airflow_failures
from airflow_provider_lclstream.hooks.job_watch import (
    JobEvent,
    JobFailedError,
    JobWatch,
    read_event,
)
from airflow_provider_lclstream.hooks.psik import PsikHook
from airflow_provider_lclstream.hooks.settings import number
from airflow_provider_lclstream.psik.states import FINAL_STATES, JobState
from airflow_provider_lclstream.triggers.psik import TRIGGER_GRACE, PsikJobTrigger
from lclstreamer.core.errors import ConfigurationError, TemporaryError

if TYPE_CHECKING:
    from airflow.sdk import Context

FINAL = "final"
"""Stands for every state in which a job has ended."""


class PsikJobSensor(BaseSensorOperator):
    """Wait until a job is, or has been, in a state. It never cancels the job.

    Fails for good, with the reason, once the job has ended in another state. Returns the job's id
    and its state.

    Args:
        jobid: the job, e.g. another task's XCom ``jobid``. Template.
        states: the state to wait for, or several: ``queued``, ``active``, ``completed``,
            ``failed``, ``canceled``, or ``final`` for any end.
        psik_conn_id: the connection of `PsikHook`; ``psik_default`` may be absent. Template.
        deferrable: wait in the triggerer, not on a worker.
        **kwargs: those of every sensor; ``poke_interval`` counts where it is not deferrable.
    """

    template_fields: Collection[str] = ("jobid", "psik_conn_id")
    ui_color = "#d5e8f0"

    def __init__(
        self,
        *,
        jobid: str,
        states: str | Collection[str] = JobState.completed.value,
        psik_conn_id: str = PsikHook.default_conn_name,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.jobid = jobid
        self.states = _states(states)
        self.psik_conn_id = psik_conn_id
        self.deferrable = deferrable

    def poke(self, context: Context) -> PokeReturnValue | bool:  # noqa: ARG002  (Airflow's signature)
        """Look once; then leave the worker, where that was asked for.

        Raises:
            TaskDeferred: the wait goes on in the triggerer.
        """
        hook, watch = PsikHook(self.psik_conn_id), self._watch()
        try:
            with airflow_failures():
                event = watch.judge(hook.access.look(self.jobid), None)
                if event is not None and event["status"] != "timeout":
                    return PokeReturnValue(is_done=True, xcom_value=self._concluded(event))
        finally:
            hook.close()
        if self.deferrable:
            raise self._deferred(watch)
        return False

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Go on after the trigger fired; an event that is not understood is a failure."""
        read = read_event(event, self.jobid)
        if read is None or event == "success":
            # Not about this wait. Another look decides.
            found = self.poke(context)
            return found.xcom_value if isinstance(found, PokeReturnValue) else None
        if read["status"] == "timeout":
            raise AirflowSensorTimeout(read["message"])
        with airflow_failures():
            if read["status"] == "error":
                raise TemporaryError(
                    f"waiting for job {self.jobid} failed: {read['message']}",
                    mend="look at the triggerer's log; a retry goes on waiting",
                )
            return self._concluded(read)

    def _watch(self) -> JobWatch:
        return JobWatch(self.jobid, time.time() + self.timeout, states=self.states)

    def _concluded(self, event: JobEvent) -> dict[str, str]:
        self.log.info("%s", event["message"])
        if event["status"] == "reached":
            return {"jobid": self.jobid, "state": event["state"]}
        raise JobFailedError(
            f"{event['message']}; the sensor waits for {' or '.join(self.states)}",
            mend="the job's log tells why: `lclstream psik logs`, or the page of its own task",
        )

    def _deferred(self, watch: JobWatch) -> TaskDeferred:
        return TaskDeferred(
            trigger=PsikJobTrigger(
                jobid=self.jobid,
                psik_conn_id=self.psik_conn_id,
                deadline_unix=watch.deadline_unix,
                poll_interval=number("job_poll_interval"),
                states=list(self.states),
                cancels_job=False,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + TRIGGER_GRACE,
        )


def _states(wanted: str | Collection[str]) -> list[str]:
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    known = {*(state.value for state in JobState), FINAL}
    if not names or not known.issuperset(names):
        raise ConfigurationError(
            f"{wanted!r} are not job states",
            mend=f"use {', '.join(sorted(known))}",
        )
    ends = sorted(state.value for state in FINAL_STATES) if FINAL in names else []
    return [*(name for name in names if name != FINAL), *(end for end in ends if end not in names)]
