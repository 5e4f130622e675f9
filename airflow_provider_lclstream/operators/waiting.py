"""What every operator that waits for a job has in common."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import timedelta
from functools import cached_property
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_lclstream.hooks.job_watch import JobEvent, JobWatch
from airflow_provider_lclstream.hooks.psik import PsikHook
from airflow_provider_lclstream.hooks.settings import number
from airflow_provider_lclstream.triggers.psik import PsikJobTrigger

TRIGGER_GRACE = timedelta(minutes=5)
"""The trigger reports the deadline itself; Airflow's own timeout stands this far behind it."""
QUICK_LOOK_SECONDS = 0.1


class JobWaitingOperator(BaseOperator):
    """Waits for a job: first in the worker, then in the triggerer.

    Args:
        psik_conn_id: the connection of `PsikHook`; may be absent. Template.
        poll_interval: seconds between two looks at the job.
        wait_before_deferring: seconds to wait in the worker first; deferring costs about three.
        deferrable: give the worker back while waiting.
        ends_in_trigger: let the triggerer end the task as a success once the job has completed.
    """

    template_fields: Collection[str] = ("psik_conn_id",)
    ui_color = "#d5e8f0"

    def __init__(
        self,
        *,
        psik_conn_id: str = PsikHook.default_conn_name,
        poll_interval: float | None = None,
        wait_before_deferring: float = 0,
        deferrable: bool = True,
        ends_in_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.psik_conn_id = psik_conn_id
        self.poll_interval = poll_interval
        self.wait_before_deferring = wait_before_deferring
        self.deferrable = deferrable
        self.ends_in_trigger = ends_in_trigger

    @cached_property
    def hook(self) -> PsikHook:
        """The hook to jobs."""
        return PsikHook(self.psik_conn_id)

    def wait_for(self, watch: JobWatch) -> JobEvent:
        """Return why the wait is over, or leave the worker; then `execute_complete` goes on.

        Raises:
            TaskDeferred: the wait goes on in the triggerer.
        """
        interval = self.poll_interval or number("job_poll_interval")
        leave_at = time.monotonic() + self.wait_before_deferring
        while True:
            event = watch.look(self.hook.store, time.time())
            if event is not None:
                return event
            if self.deferrable and time.monotonic() >= leave_at:
                raise self._deferred(watch, interval)
            time.sleep(QUICK_LOOK_SECONDS if self.deferrable else interval)

    def _deferred(self, watch: JobWatch, interval: float) -> TaskDeferred:
        left = max(0.0, watch.deadline_unix - time.time())
        return TaskDeferred(
            trigger=PsikJobTrigger(
                jobid=watch.jobid,
                psik_conn_id=self.psik_conn_id,
                ready_file=watch.ready_file,
                guard_jobid=watch.guard_jobid,
                deadline_unix=watch.deadline_unix,
                poll_interval=interval,
                ends_task=self.ends_in_trigger,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=left) + TRIGGER_GRACE,
        )
