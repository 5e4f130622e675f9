"""What a waiting task looks for in a job; for trigger and operator alike, no Airflow."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from lclstreamer.core.errors import LCLStreamError

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.facts import JobFacts

Status = Literal["final", "ready", "reached", "timeout", "orphaned", "error"]
STATUSES: frozenset[str] = frozenset(get_args(Status))
GUARD_GRACE_SECONDS = 10.0
LONGEST_ROUND_SECONDS = 30.0
"""How long one question to a service may take; proxies cut longer ones."""
GUARD_ROUND_SECONDS = 5.0
"""How often the job that this one cannot do without is looked at."""
OUTAGE_SECONDS = 600.0
"""How long a job may be unreachable (its service is away) before the wait fails."""
LONGEST_PAUSE_SECONDS = 30.0


class JobFailedError(LCLStreamError):
    """A job did not do what it was started for; running it again needs a decision."""

    exit_code, title = 70, "job failed"


class JobMayBeRetriedError(JobFailedError):
    """The same, where the task's owner allows Airflow to try again with a new job."""

    transient, title = True, "job failed, may be retried"


class JobEvent(TypedDict):
    """Why a wait is over.

    ``status`` is ``final`` (the job ended), ``ready`` (its ready file is there), ``reached`` (it is
    or was in a state that was waited for), ``timeout`` (the deadline passed), ``orphaned`` (the
    job it depends on ended) or ``error`` (the wait failed). ``state`` is the job's when last seen.
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
        deadline_unix: seconds since 1970 after which the wait is over.
        ready_file: a file in its working directory whose appearance ends the wait, or None.
        guard_jobid: a job this one depends on, or None.
        states: states of the present attempt that end the wait, beside its end.
    """

    jobid: str
    deadline_unix: float
    ready_file: str | None = None
    guard_jobid: str | None = None
    states: Collection[str] = ()

    def judge(
        self, facts: JobFacts, guard: JobFacts | None, now_unix: float | None = None
    ) -> JobEvent | None:
        """Whether the wait is over, from what was just seen; None means to go on waiting.

        Args:
            facts: the job, with the rows of its history that were not judged yet.
            guard: the job it depends on, where there is one.
            now_unix: seconds since 1970; by default the time it is.
        """
        now, state = time.time() if now_unix is None else now_unix, str(facts.state)
        if reached := self._reached(facts):
            return self._event("reached", state, f"job {self.jobid} has been {reached}")
        if facts.state.is_final:
            reason = f": {facts.info}" if facts.info else ""
            return self._event("final", state, f"job {self.jobid} is {state}{reason}")
        if facts.has_file:
            return self._event("ready", state, f"{self.ready_file} is there")
        # Jobs that end together are not seen to end together.
        if guard and guard.state.is_final and now - guard.updated > GUARD_GRACE_SECONDS:
            gone = f"job {guard.jobid}, which it depends on, is {guard.state}"
            return self._event("orphaned", state, gone)
        if now >= self.deadline_unix:
            return self._event(
                "timeout", state, f"job {self.jobid} is still {state} at its deadline"
            )
        return None

    def round_seconds(self) -> float:
        """How long the next question may wait for news."""
        longest = GUARD_ROUND_SECONDS if self.guard_jobid else LONGEST_ROUND_SECONDS
        return max(0.0, min(longest, self.deadline_unix - time.time()))

    def _reached(self, facts: JobFacts) -> str | None:
        rows = (row.state for row in facts.history if row.jobndx == facts.jobndx)
        return next((str(state) for state in (*rows, facts.state) if state in self.states), None)

    def _event(self, status: Status, state: str, message: str) -> JobEvent:
        return JobEvent(status=status, jobid=self.jobid, state=state, message=message)


@dataclass
class Outage:
    """How long a job could not be looked at, and how long to pause before the next look.

    Attributes:
        pause_seconds: the first pause; it doubles from look to look.
        began: when the first look of a row of failures failed; None while all is well.
    """

    pause_seconds: float
    began: float | None = field(default=None, init=False)
    failures: int = field(default=0, init=False)

    def is_over(self) -> None:
        """A look has succeeded."""
        self.began, self.failures = None, 0

    def pause_after(self, error: LCLStreamError) -> float:
        """Seconds to pause after a look that failed.

        Raises:
            LCLStreamError: the error, where it will not pass or has not for too long.
        """
        now = time.monotonic()
        self.began = now if self.began is None else self.began
        if not error.transient or now - self.began > OUTAGE_SECONDS:
            raise error
        self.failures += 1
        return min(LONGEST_PAUSE_SECONDS, self.pause_seconds * 2 ** min(self.failures, 10))


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
