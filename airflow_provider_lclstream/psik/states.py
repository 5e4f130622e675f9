"""The states of a job and the one table that says which may follow which. Pure.

A row of the log is ``(time, jobndx, state, info)``. ``jobndx`` counts attempts: 0 for the job
itself (``new``, or ``canceled`` before any attempt), 1 for the first, 2 after `start`, and so on.
A final state stays final for its attempt; only a new attempt can follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lclstreamer.core.errors import LCLStreamError


class JobState(StrEnum):
    """The state of a job. The last three are final."""

    new = "new"
    queued = "queued"
    active = "active"
    completed = "completed"
    failed = "failed"
    canceled = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether nothing but a new attempt can follow."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({JobState.completed, JobState.failed, JobState.canceled})


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of a job's state log.

    Attributes:
        time: when the state was reached, in seconds since 1970.
        jobndx: the attempt, from 1; 0 before the first.
        state: the state that was reached.
        info: the reason, the exit code or the scheduler's id; one line.
    """

    time: float
    jobndx: int
    state: JobState
    info: str = ""


class TransitionRefusedError(LCLStreamError):
    """A state was reported that cannot follow the one the job is in."""

    exit_code, title = 65, "refused state"


_S = JobState
TRANSITIONS: dict[tuple[JobState, JobState], tuple[int, str]] = {
    (_S.new, _S.queued): (1, "submitted"),
    (_S.new, _S.active): (1, "started without a queue"),
    (_S.new, _S.canceled): (0, "canceled before it was submitted"),
    (_S.queued, _S.active): (0, "its script starts"),
    (_S.queued, _S.failed): (0, "refused by the scheduler, or unknown to it"),
    (_S.queued, _S.canceled): (0, "canceled in the queue"),
    (_S.active, _S.queued): (0, "requeued by the scheduler"),
    (_S.active, _S.completed): (0, "exit code 0"),
    (_S.active, _S.failed): (0, "any other end"),
    (_S.active, _S.canceled): (0, "canceled while it ran"),
    (_S.completed, _S.queued): (1, "started again"),
    (_S.failed, _S.queued): (1, "started again"),
    (_S.canceled, _S.queued): (1, "started again"),
}
"""(from, to) → (by how much ``jobndx`` grows, what happened). What is absent is refused."""


def is_news(last: Transition | None, jobndx: int, state: JobState) -> bool:
    """Whether a state may be appended after ``last`` (True) or stands there already (False).

    Raises:
        TransitionRefusedError: the table does not allow it.
    """
    if last is None:
        if (jobndx, state) == (0, JobState.new):
            return True
        raise _refusal("nothing", jobndx, state, "a job starts as 'new' in attempt 0")
    if (last.jobndx, last.state) == (jobndx, state):
        return False
    step = TRANSITIONS.get((last.state, state))
    if step is not None and jobndx == last.jobndx + step[0]:
        return True
    here = f"{last.state!s} of attempt {last.jobndx}"
    raise _refusal(here, jobndx, state, "report only a state that can follow the present one")


def _refusal(here: str, jobndx: int, state: JobState, mend: str) -> TransitionRefusedError:
    return TransitionRefusedError(f"{state!s} of attempt {jobndx} cannot follow {here}", mend=mend)


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", "    [*] --> new"]
    for (before, after), (step, cause) in TRANSITIONS.items():
        mark = " (next attempt)" if step and before in FINAL_STATES else ""
        lines.append(f"    {before} --> {after}: {cause}{mark}")
    lines += [f"    {state} --> [*]" for state in JobState if state.is_final]
    return "\n".join(lines) + "\n"
