"""What every operator that waits for a job has in common."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Collection, Generator
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_lclstream.hooks.failures import airflow_failures
from airflow_provider_lclstream.hooks.job_watch import JobEvent, JobWatch, Outage
from airflow_provider_lclstream.hooks.log_tail import LogTail, read_tail
from airflow_provider_lclstream.hooks.psik import PsikHook
from airflow_provider_lclstream.hooks.settings import number
from airflow_provider_lclstream.triggers.psik import TRIGGER_GRACE, PsikJobTrigger
from lclstreamer.core.errors import LCLStreamError

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.facts import JobFacts

QUICK_LOOK_SECONDS = 0.1


class JobWaitingOperator(BaseOperator):
    """Waits for a job: first in the worker, then in the triggerer.

    Args:
        psik_conn_id: the connection of `PsikHook`; ``psik_default`` may be absent. Template.
        poll_interval: seconds between two looks at the job, where it lies in a folder; a service
            tells by itself.
        wait_before_deferring: seconds to wait in the worker first; the end of a job just after it
            is noticed ``[lclstream] least_deferral`` seconds later.
        deferrable: give the worker back while waiting.
        ends_in_trigger: let the triggerer end the task as a success once the job has completed.
        stream_logs: show in the task's log what the job prints, as it prints it; at most 64 KiB a
            minute.
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
        stream_logs: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.psik_conn_id = psik_conn_id
        self.poll_interval = poll_interval
        self.wait_before_deferring = wait_before_deferring
        self.deferrable = deferrable
        self.ends_in_trigger = ends_in_trigger
        self.stream_logs = stream_logs

    @cached_property
    def hook(self) -> PsikHook:
        """The hook to jobs."""
        look_seconds = QUICK_LOOK_SECONDS if self.deferrable else self._interval
        return PsikHook(self.psik_conn_id, look_seconds=look_seconds)

    def wait_for(self, watch: JobWatch) -> JobEvent:
        """Return why the wait is over, or leave the worker; then `execute_complete` goes on.

        Raises:
            TaskDeferred: the wait goes on in the triggerer.
        """
        stays = self.wait_before_deferring if self.deferrable else math.inf
        leave_at = time.monotonic() + stays
        tail = LogTail(watch.jobid) if self.stream_logs else None
        outage, rows = Outage(self._interval), 0
        while True:
            left = max(0.0, leave_at - time.monotonic())
            try:
                facts, event = self._look(watch, rows, left, tail)
            except LCLStreamError as error:
                pause = outage.pause_after(error)
                self.log.warning("job %s cannot be checked now: %s", watch.jobid, error)
                time.sleep(min(pause, left))
            else:
                outage.is_over()
                rows = facts.rows
                if event is not None:
                    return event
            if time.monotonic() >= leave_at:
                raise self._deferred(watch)

    def _look(
        self, watch: JobWatch, rows: int, longest: float, tail: LogTail | None
    ) -> tuple[JobFacts, JobEvent | None]:
        access, wait = self.hook.access, min(longest, watch.round_seconds()) if rows else 0
        if tail is not None and not self.deferrable:
            wait = min(wait, tail.pause_seconds)
        facts = access.look(watch.jobid, after=rows, wait_seconds=wait, file=watch.ready_file)
        guard = access.look(watch.guard_jobid) if watch.guard_jobid else None
        event = watch.judge(facts, guard)
        # What is to be shown by the trigger is not shown here too.
        if tail is not None and (event is not None or not self.deferrable):
            self._show(tail, facts, is_last=event is not None)
        return facts, event

    def _show(self, tail: LogTail, facts: JobFacts, *, is_last: bool) -> None:
        try:
            for line in read_tail(tail, self.hook.access, facts, is_last=is_last):
                self.log.info("%s", line)
        except LCLStreamError as error:
            self.log.warning("the log of job %s cannot be shown now: %s", tail.jobid, error)

    @contextlib.contextmanager
    def _at_jobs(self) -> Generator[None]:
        """While a task works with jobs: its errors are Airflow's, and it leaves nothing open."""
        try:
            with airflow_failures():
                yield
        finally:
            self.hook.close()

    @property
    def _interval(self) -> float:
        return self.poll_interval or number("job_poll_interval")

    def _deferred(self, watch: JobWatch) -> TaskDeferred:
        left = max(0.0, watch.deadline_unix - time.time())
        return TaskDeferred(
            trigger=PsikJobTrigger(
                jobid=watch.jobid,
                psik_conn_id=self.psik_conn_id,
                ready_file=watch.ready_file,
                guard_jobid=watch.guard_jobid,
                deadline_unix=watch.deadline_unix,
                poll_interval=self._interval,
                ends_task=self.ends_in_trigger,
                stream_logs=self.stream_logs,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=left) + TRIGGER_GRACE,
        )
