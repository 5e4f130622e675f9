"""What is concluded from what a carrier left on another's service, and from what was not left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_lclstream.psik.backends.base import Attempt, Observation
from airflow_provider_lclstream.psik.endings import reason_of
from airflow_provider_lclstream.psik.models import JobState


@dataclass(frozen=True)
class Signs:
    """What a carrier has left: whether it has ended, and how long it has been silent."""

    has_result: bool
    silent_seconds: float


def is_late(attempt: Attempt, patience_seconds: float) -> bool:
    """Whether it was handed over so long ago that the service should have queued it."""
    try:
        handed_over = attempt.job.native(attempt.jobndx).stat().st_mtime
    except FileNotFoundError:
        return False
    return time.time() - handed_over > patience_seconds


def gone(attempt: Attempt) -> Observation:
    """How an attempt ended that the service no longer knows."""
    request = attempt.cancel_request
    if request is not None:
        return Observation(JobState.canceled, reason_of(request))
    return Observation(JobState.failed, f"the service no longer knows job {attempt.native_id}")


def never_began(
    attempt: Attempt, line: Mapping[str, Any], patience_seconds: float
) -> Observation | None:
    """What it means that a job has left no sign at all."""
    state = JobState(line["state"])
    request = attempt.cancel_request
    if request is not None and state is not JobState.active:
        return Observation(JobState.canceled, reason_of(request))
    if state is JobState.queued:
        return Observation(state, "waiting there")
    if state is JobState.active and time.time() - float(line["updated"]) < patience_seconds:
        return None
    if state is JobState.canceled:
        return Observation(state, "canceled at the service")
    return Observation(JobState.failed, f"it never started; the service says {_words(line)}")


def lost(attempt: Attempt, seconds: float, line: Mapping[str, Any]) -> Observation:
    """What it means that a carrier has been silent for so many seconds."""
    request = attempt.cancel_request
    if request is not None:
        return Observation(JobState.canceled, reason_of(request), has_run=True)
    said = f"no sign of life for {seconds:.0f} s; the service says {_words(line)}"
    return Observation(JobState.failed, said, has_run=True)


def _words(line: Mapping[str, Any]) -> str:
    return f"{line['state']} {line['info'] or ''}".strip()
