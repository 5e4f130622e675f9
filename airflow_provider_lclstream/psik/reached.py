"""``lclstream psik reached BASE JOBNDX STATE [INFO]``: a script records where it is.

It runs inside jobs, perhaps many times, so it imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from airflow_provider_lclstream.psik.state_log import StateLog
from airflow_provider_lclstream.psik.states import JobState
from lclstreamer.core.errors import BadInputError, UsageError

USAGE = "lclstream psik reached BASE JOBNDX STATE [INFO]"
REPORTED = [state for state in JobState if state not in {JobState.new, JobState.queued}]
TEXT = f"""usage: {USAGE}

Record that attempt JOBNDX of the job in folder BASE reached a state. Scripts find both in
their environment: `lclstream psik reached $base $jobndx completed`.
STATE is one of {", ".join(REPORTED)}; INFO is a reason, in one line.
"""


def reached(words: Sequence[str]) -> None:
    """Append one row to a job's state log; nothing where it stands there already.

    Raises:
        UsageError: the words are not a job folder, a number and a state.
        BadInputError: the folder holds no job.
        TransitionRefusedError: the state cannot follow the present one.
    """
    if len(words) not in {3, 4}:
        raise UsageError(f"{len(words)} words were given", mend=f"write {USAGE}")
    base, jobndx, state = words[:3]
    if not jobndx.isdecimal():
        raise UsageError(f"{jobndx!r} is not the number of an attempt", mend=f"write {USAGE}")
    if state not in REPORTED:
        raise UsageError(
            f"{state!r} is not a state that a script reaches", mend=f"use {', '.join(REPORTED)}"
        )
    log = StateLog(Path(base) / "status.csv")
    if log.last() is None:
        raise BadInputError(
            "there is no job in this folder", where=base, mend="pass the job's folder, $base"
        )
    log.append(int(jobndx), JobState(state), words[3] if len(words) == 4 else "")
