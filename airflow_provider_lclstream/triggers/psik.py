"""The trigger that waits for a job: holds no worker, never blocks the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider_lclstream.hooks.job_watch import JobEvent, JobWatch, Outage
from airflow_provider_lclstream.hooks.log_tail import LogTail, read_tail_async
from airflow_provider_lclstream.hooks.psik import PsikHook
from airflow_provider_lclstream.hooks.settings import number
from airflow_provider_lclstream.hooks.task_state import ENDED_TASK_STATES, task_state
from lclstreamer.core.errors import LCLStreamError

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.access.base import AsyncJobAccess
    from airflow_provider_lclstream.psik.facts import JobFacts

TRIGGER_GRACE = timedelta(minutes=5)
"""The trigger reports the deadline itself; Airflow's own timeout comes this much later."""
LINES_AT_ONCE = 50
"""After so many lines of a log, other triggers have their turn."""
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
        guard_jobid: a job this one depends on; when it ends first, the wait is over.
        poll_interval: seconds between two looks into a folder; a service tells by itself.
        ends_task: end the task as a success, without a worker, once the job has completed.
        stream_logs: show in the task's log what the job prints.
        states: states of the job that end the wait, beside its end.
        cancels_job: whether the job is canceled when its task is marked.
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
        stream_logs: bool = False,
        states: Sequence[str] = (),
        cancels_job: bool = True,
    ) -> None:
        super().__init__()
        self.jobid = jobid
        self.psik_conn_id = psik_conn_id
        self.ready_file = ready_file
        self.guard_jobid = guard_jobid
        self.deadline_unix = deadline_unix
        self.poll_interval = poll_interval
        self.ends_task = ends_task
        self.stream_logs = stream_logs
        self.states = list(states)
        self.cancels_job = cancels_job

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
                "stream_logs": self.stream_logs,
                "states": self.states,
                "cancels_job": self.cancels_job,
            },
        )

    @cached_property
    def hook(self) -> PsikHook:
        """The hook to the job."""
        return PsikHook(self.psik_conn_id, look_seconds=self.poll_interval)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire once. Whatever goes wrong reaches the task as an event too."""
        began, least_seconds = time.monotonic(), 0.0
        try:
            least_seconds = number("least_deferral")
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
            await _let_airflow_settle(event, began, least_seconds)
            yield TriggerEvent(event)

    async def _wait(self) -> JobEvent:
        watch = JobWatch(
            self.jobid, self.deadline_unix, self.ready_file, self.guard_jobid, self.states
        )
        tail = LogTail(self.jobid) if self.stream_logs else None
        outage, rows = Outage(self.poll_interval), 0
        access = await self.hook.get_async_conn()
        try:
            while True:
                try:
                    facts, event = await self._look(access, watch, rows, tail)
                except LCLStreamError as error:
                    pause = outage.pause_after(error)
                    self.log.warning("job %s cannot be checked now: %s", self.jobid, error)
                    await asyncio.sleep(pause)
                    continue
                outage.is_over()
                rows = facts.rows
                if event is not None:
                    return event
        finally:
            await access.aclose()

    async def _look(
        self, access: AsyncJobAccess, watch: JobWatch, rows: int, tail: LogTail | None
    ) -> tuple[JobFacts, JobEvent | None]:
        wait = watch.round_seconds() if rows else 0
        if tail is not None:
            wait = min(wait, tail.pause_seconds)
        facts = await access.look(self.jobid, after=rows, wait_seconds=wait, file=self.ready_file)
        guard = await access.look(self.guard_jobid) if self.guard_jobid else None
        event = watch.judge(facts, guard)
        if tail is not None:
            await self._show(tail, access, facts, is_last=event is not None)
        return facts, event

    async def _show(
        self, tail: LogTail, access: AsyncJobAccess, facts: JobFacts, *, is_last: bool
    ) -> None:
        """What a trigger logs appears in the log of its task."""
        try:
            lines = await read_tail_async(tail, access, facts, is_last=is_last)
        except LCLStreamError as error:
            self.log.warning("the log of job %s cannot be shown now: %s", self.jobid, error)
            return
        for shown, line in enumerate(lines, 1):
            self.log.info("%s", line)
            if shown % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def on_kill(self) -> None:
        """Cancel the job, but only once the task is known to have ended.

        Airflow removes a trigger when somebody marks its task, but also when a stalled triggerer
        loses it to another one (apache/airflow#73454); and a cleared task comes back and takes
        its job up again. In both cases the job has to go on.
        """
        if not self.cancels_job:
            return
        state = await self._task_state()
        if state not in ENDED_TASK_STATES:
            self.log.info("job %s goes on: its task is %s", self.jobid, state or "about to run")
            return
        self.log.info("task is %s: canceling job %s", state, self.jobid)
        await self.hook.acancel(self.jobid, reason=f"its task is {state}")

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


async def _let_airflow_settle(event: JobEvent, began: float, least_seconds: float) -> None:
    """Stay deferred a while, although the wait is over.

    Airflow fails a task that is up again before its scheduler has noticed that the worker left it
    (apache/airflow#67287, apache/airflow#72716). And whoever ends or clears a task ends its job
    too: its trigger is about to be removed, and where the next one has its number (SQLite), what
    it says would wake the next try.
    """
    waited = 0.0 if event["state"] == "canceled" else time.monotonic() - began
    await asyncio.sleep(max(0.0, least_seconds - waited))
