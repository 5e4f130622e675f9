"""The trigger that waits for a job: holds no worker, never blocks the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider_lclstream.hooks.job_watch import JobEvent, JobWatch
from airflow_provider_lclstream.hooks.psik import PsikHook
from airflow_provider_lclstream.hooks.task_state import ENDED_TASK_STATES, task_state
from lclstreamer.core.errors import LCLStreamError

FAILED_LOOKS = 5
"""So many looks in a row may fail for a passing reason (a file server that hiccups)."""
STATE_QUESTIONS = 3
"""How often a trigger that is being removed asks what became of its task."""


class PsikJobTrigger(BaseTrigger):
    """Fires when a job is final, when its ready file is there, or when the deadline has passed.

    The event is a `JobEvent`; the operator reads everything else from the job itself.

    Args:
        jobid: the job to wait for.
        deadline_unix: seconds since 1970; absolute, so that a restart does not extend it.
        psik_conn_id: the connection of `PsikHook`.
        ready_file: a file in the job's working directory; its appearance ends the wait too.
        guard_jobid: a job this one cannot do without; when it ends first, the wait is over.
        poll_interval: seconds between two looks.
        ends_task: end the task as a success, without a worker, once the job has completed.
    """

    def __init__(
        self,
        *,
        jobid: str,
        deadline_unix: float,
        psik_conn_id: str = PsikHook.default_conn_name,
        ready_file: str | None = None,
        guard_jobid: str | None = None,
        poll_interval: float = 0.5,
        ends_task: bool = False,
    ) -> None:
        super().__init__()
        self.jobid = jobid
        self.psik_conn_id = psik_conn_id
        self.ready_file = ready_file
        self.guard_jobid = guard_jobid
        self.deadline_unix = deadline_unix
        self.poll_interval = poll_interval
        self.ends_task = ends_task

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments: plain JSON, no secrets."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "jobid": self.jobid,
                "psik_conn_id": self.psik_conn_id,
                "ready_file": self.ready_file,
                "guard_jobid": self.guard_jobid,
                "deadline_unix": self.deadline_unix,
                "poll_interval": self.poll_interval,
                "ends_task": self.ends_task,
            },
        )

    @cached_property
    def hook(self) -> PsikHook:
        """The hook to the job; made on first use, in a thread."""
        return PsikHook(self.psik_conn_id)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire once. Whatever goes wrong reaches the task as an event too."""
        try:
            event = await self._wait()
        except Exception as error:  # the trigger's edge: an unseen error would strand the task
            self.log.exception("waiting for job %s failed", self.jobid)
            event = JobEvent(
                status="error", jobid=self.jobid, state="", message=str(error) or repr(error)
            )
        if self.ends_task and event["status"] == "final" and event["state"] == "completed":
            self.log.info("%s", event["message"])
            yield TaskSuccessEvent()
        else:
            yield TriggerEvent(event)

    async def _wait(self) -> JobEvent:
        watch = JobWatch(self.jobid, self.deadline_unix, self.ready_file, self.guard_jobid)
        failures = 0
        while True:
            try:
                event = await asyncio.to_thread(lambda: watch.look(self.hook.store, time.time()))
                failures = 0
            except LCLStreamError as error:
                failures += 1
                if not error.transient or failures >= FAILED_LOOKS:
                    raise
                self.log.warning("look %d at job %s: %s", failures, self.jobid, error)
                event = None
            if event is not None:
                return event
            await asyncio.sleep(self.poll_interval)

    async def on_kill(self) -> None:
        """Cancel the job, but only once the task is known to have ended.

        Airflow removes a trigger when somebody marks its task, but also when a stalled triggerer
        loses it to another one (apache/airflow#73454); and a cleared task comes back and takes
        its job up again. In both cases the job has to go on.
        """
        state = await self._task_state()
        if state not in ENDED_TASK_STATES:
            self.log.info("job %s goes on: its task is %s", self.jobid, state or "about to run")
            return
        self.log.info("task is %s: canceling job %s", state, self.jobid)
        await asyncio.to_thread(self.hook.cancel, self.jobid)

    async def _task_state(self) -> str | None:
        """Ask Airflow what became of the task; ``unknown`` when there is no answer."""
        ti = self.task_instance
        if ti is None:
            return "unknown"
        for attempt in range(STATE_QUESTIONS):
            try:
                return await asyncio.to_thread(task_state, ti)
            except (AirflowRuntimeError, OSError) as error:
                self.log.warning("question %d about the task: %s", attempt + 1, error)
                await asyncio.sleep(2**attempt)
        return "unknown"
