"""How an attempt ended, from what its script left."""

from __future__ import annotations

import signal

import pytest

from airflow_provider_lclstream.psik.endings import conclude
from airflow_provider_lclstream.psik.states import JobState


@pytest.mark.parametrize("number", range(1, signal.NSIG))
def test_every_signal_has_a_reason(number: int) -> None:
    state, reason = conclude({"exit_code": None, "signal": number}, None)
    assert state is JobState.failed
    assert reason.startswith(f"signal {number} (SIG")


def test_signals_are_called_what_the_manual_calls_them() -> None:
    said = [conclude({"signal": number}, None)[1] for number in (9, 11, 35, 64)]
    names = ["9 (SIGKILL)", "11 (SIGSEGV)", "35 (SIGRTMIN+1)", "64 (SIGRTMAX)"]
    assert said == [f"signal {name}" for name in names]
