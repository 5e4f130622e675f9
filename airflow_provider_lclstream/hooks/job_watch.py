"""What a waiting task looks for in a job's folder; for trigger and operator alike, no Airflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from lclstreamer.core.errors import LCLStreamError

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.store import JobStore

Status = Literal["final", "ready", "timeout", "orphaned", "error"]
GUARD_GRACE_SECONDS = 10.0
STATUSES: frozenset[str] = frozenset(get_args(Status))


class JobFailedError(LCLStreamError):
    """A job did not do what it was started for; running it again needs a decision."""

    exit_code, title = 70, "job failed"


class JobMayBeRetriedError(JobFailedError):
    """The same, where the task's owner allows Airflow to try again with a new job."""

    transient, title = True, "job failed, may be retried"


class JobEvent(TypedDict):
    """Why a wait is over.

    ``status`` is ``final`` (the job ended), ``ready`` (its ready file is there), ``timeout`` (the
    deadline passed), ``orphaned`` (the job it depends on ended) or ``error`` (the wait failed).
    ``state`` is the job's when last seen.
    """

    status: Status
    jobid: str
    state: str
    message: str


@dataclass(frozen=True)
class JobWatch:
    """What to wait for.

    Attributes:
        jobid: the job.
        ready_file: a file in its working directory whose appearance ends the wait, or None.
        guard_jobid: a job this one cannot do without, or None.
        deadline_unix: seconds since 1970 after which the wait is over.
    """

    jobid: str
    deadline_unix: float
    ready_file: str | None = None
    guard_jobid: str | None = None

    def look(self, store: JobStore, now_unix: float) -> JobEvent | None:
        """Look once; None means to go on waiting. Reads a few small files, may ask the backend."""
        job = store.get(self.jobid)
        state = job.reconcile()
        if state.is_final:
            return self._event("final", state, f"job {self.jobid} is {state}")
        if self.ready_file and (job.work / self.ready_file).is_file():
            return self._event("ready", state, f"{self.ready_file} is there")
        if self.guard_jobid:
            guard = store.get(self.guard_jobid)
            # Jobs that end together are not seen to end together.
            if guard.reconcile().is_final and now_unix - guard.last().time > GUARD_GRACE_SECONDS:
                gone = f"job {guard.jobid}, which it depends on, is {guard.state()}"
                return self._event("orphaned", state, gone)
        if now_unix > self.deadline_unix:
            return self._event(
                "timeout", state, f"job {self.jobid} is still {state} at its deadline"
            )
        return None

    def _event(self, status: Status, state: str, message: str) -> JobEvent:
        return JobEvent(status=status, jobid=self.jobid, state=str(state), message=message)


def read_event(event: Any, jobid: str) -> JobEvent | None:
    """Check what a trigger handed back.

    What is not understood becomes an ``error``, never a success. None stands for the late event of
    an earlier try about its own job: Airflow may hand it on where the database gives the number of
    a deleted trigger to the next one (SQLite).
    """
    if event == "success":
        # A trigger that ended its task; only `dag.test` hands that on. The job's state decides.
        return JobEvent(status="final", jobid=jobid, state="", message=f"job {jobid} has ended")
    if isinstance(event, dict) and event.get("jobid") and event.get("status") in STATUSES:
        state, message = (str(event.get(name, "")) for name in ("state", "message"))
        read = JobEvent(status=event["status"], jobid=jobid, state=state, message=message)
        return read if event["jobid"] == jobid else None
    problem = f"the trigger's event was not understood: {event!r}"
    return JobEvent(status="error", jobid=jobid, state="", message=problem)
