"""How an attempt ended: from what its script left, and what was asked of it, to a state. Pure."""

from __future__ import annotations

import signal
from typing import Any

from airflow_provider_lclstream.psik.states import JobState


def conclude(result: dict[str, Any], request: dict[str, Any] | None) -> tuple[JobState, str]:
    """The final state and its reason, from how a script ended and whether a cancel was asked."""
    number, code = result.get("signal"), result.get("exit_code")
    if request is not None and (result.get("asked_to_end") or number):
        return JobState.canceled, reason_of(request)
    if result.get("reached_time_limit"):
        return JobState.failed, "time limit reached"
    if result.get("problem"):
        return JobState.failed, f"{result['problem']} (exit code {code})"
    if result.get("asked_to_end"):
        return JobState.failed, "ended by SIGTERM from outside"
    if number:
        return JobState.failed, f"signal {number} ({_signal_name(number)})"
    if code:
        return JobState.failed, f"exit code {code}"
    return JobState.completed, "exit code 0"


def conclude_unseen(
    result: dict[str, Any] | None, request: dict[str, Any] | None, problem: str
) -> tuple[JobState, str]:
    """The same where nobody saw the end: from what was left, or else failed with that problem."""
    if result is not None:
        return conclude(result, request)
    if request is not None:
        return JobState.canceled, reason_of(request)
    return JobState.failed, problem


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name of their own
        return f"SIGRTMIN{number - signal.SIGRTMIN:+d}"


def reason_of(request: dict[str, Any]) -> str:
    """What a cancel request says, for the state log."""
    return str(request.get("reason") or "canceled")
