"""What backends share whose scheduler starts our runner on nodes that see the job folders."""

from __future__ import annotations

import time

from airflow_provider_lclstream.psik.backends.base import Attempt, Observation
from airflow_provider_lclstream.psik.backends.slurm_states import translate
from airflow_provider_lclstream.psik.endings import conclude, conclude_unseen, reason_of
from airflow_provider_lclstream.psik.layout import write_json
from airflow_provider_lclstream.psik.states import JobState


def note_settings(attempt: Attempt, backend: str, mpirun: str, grace_seconds: float) -> None:
    """Write what the runner of an attempt needs to know into the job folder."""
    spec = attempt.spec
    write_json(
        attempt.job.attempt(attempt.jobndx),
        {
            "backend": backend,
            "directory": spec.directory,
            "inherit_environment": spec.inherit_environment,
            "environment": spec.environment,
            "mpirun": mpirun,
            "grace_seconds": grace_seconds,
        },
        mode=0o600,
        sync=False,
    )


def runner_command(python: str, attempt: Attempt) -> list[str]:
    """The command that runs an attempt on a node."""
    module = "airflow_provider_lclstream.psik.runner"
    return [python, "-P", "-m", module, str(attempt.job.path), str(attempt.jobndx)]


def mark_of(attempt: Attempt) -> str:
    """What an attempt is labeled with, so that it is found again without its id."""
    return f"psik:{attempt.job.jobid}.{attempt.jobndx}"


def native_id_of(attempt: Attempt) -> str:
    """The scheduler's id, as it answered, or as the runner noted it when that answer was lost."""
    noted = attempt.last.info if attempt.last.state is JobState.active else ""
    return attempt.native_id or (noted if noted.isdigit() else "")


def explain_slurm(attempt: Attempt, slurm_state: str, reason: str) -> Observation:
    """What a state in SLURM's words means for an attempt."""
    state, info = translate(slurm_state, reason)
    request, result = attempt.cancel_request, attempt.result
    if state is JobState.canceled and request is not None:
        return Observation(state, reason_of(request))
    if state is JobState.failed and slurm_state == "FAILED":
        # SLURM knows that it failed, its runner how.
        if result is not None:
            return Observation(*conclude({**result, "asked_to_end": False}, None))
        return Observation(state, f"{info}; its runner left no result, see log/console")
    if state is JobState.active and attempt.last.state is JobState.queued:
        # As its runner will say it, which may be a moment behind SLURM.
        return Observation(state, native_id_of(attempt))
    return Observation(state, info)


def vanished(attempt: Attempt, scheduler: str) -> Observation:
    """How an attempt must have ended that its scheduler does not know any more."""
    problem = f"{scheduler} no longer knows job {native_id_of(attempt)}, and nothing says why"
    return Observation(*conclude_unseen(attempt.result, attempt.cancel_request, problem))


def is_recent(attempt: Attempt, seconds: float) -> bool:
    """Whether an attempt changed its state so lately that accounting may not know it yet."""
    return time.time() - attempt.last.time < seconds
