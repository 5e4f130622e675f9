"""Every state SLURM knows, by its long and its short name."""

from __future__ import annotations

import pytest

from airflow_provider_lclstream.psik.backends.slurm_states import (
    ABBREVIATIONS,
    SLURM_STATES,
    translate,
)
from airflow_provider_lclstream.psik.models import JobState

QUEUED = "PENDING CONFIGURING REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT"
ACTIVE = "RUNNING COMPLETING RESIZING SIGNALING STAGE_OUT STOPPED SUSPENDED"
FAILED = "BOOT_FAIL DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT"
EXPECTED = {
    **dict.fromkeys(QUEUED.split(), JobState.queued),
    **dict.fromkeys(ACTIVE.split(), JobState.active),
    **dict.fromkeys(FAILED.split(), JobState.failed),
    "COMPLETED": JobState.completed,
    "CANCELLED": JobState.canceled,
}


@pytest.mark.parametrize(("name", "state"), sorted(EXPECTED.items()))
def test_long_names(name: str, state: JobState) -> None:
    found, info = translate(name)
    assert found is state
    assert info
    assert translate(f" {name}+ ")[0] is state


@pytest.mark.parametrize(("short", "name"), sorted(ABBREVIATIONS.items()))
def test_short_names(short: str, name: str) -> None:
    assert translate(short) == translate(name)
    assert name in SLURM_STATES


def test_the_reason_is_told_where_it_says_more() -> None:
    assert translate("PENDING", "Resources")[1] == "waiting (SLURM PENDING, Resources)"
    assert translate("TIMEOUT", "TimeLimit")[1] == "time limit reached (SLURM TIMEOUT, TimeLimit)"
    assert translate("FAILED", "NonZeroExitCode")[1] == "it failed (SLURM FAILED)"
    assert translate("CANCELLED by 1000")[1] == "canceled by uid 1000 (SLURM CANCELLED)"


@pytest.mark.parametrize("text", ["", "SOMETHING_NEW", "  "])
def test_what_is_unknown_is_no_end(text: str) -> None:
    assert translate(text)[0] is JobState.active
