"""The transition table, pair by pair, and what follows from it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_lclstream.psik.states import (
    FINAL_STATES,
    TRANSITIONS,
    JobState,
    Transition,
    TransitionRefusedError,
    diagram,
    is_news,
)

S = JobState
WITHIN_AN_ATTEMPT = {
    (S.new, S.canceled),
    (S.queued, S.active),
    (S.queued, S.failed),
    (S.queued, S.canceled),
    (S.active, S.queued),
    (S.active, S.completed),
    (S.active, S.failed),
    (S.active, S.canceled),
}
INTO_THE_NEXT = {
    (S.new, S.queued),
    (S.new, S.active),
    (S.completed, S.queued),
    (S.failed, S.queued),
    (S.canceled, S.queued),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(JobState, JobState)))
@pytest.mark.parametrize("step", [-1, 0, 1, 2])
def test_every_pair_of_states_and_attempts(before: JobState, after: JobState, step: int) -> None:
    last = Transition(1.0, 3, before)
    if before is after and step == 0:
        assert is_news(last, 3, after) is False
    elif ((before, after) in WITHIN_AN_ATTEMPT and step == 0) or (
        (before, after) in INTO_THE_NEXT and step == 1
    ):
        assert is_news(last, 3 + step, after) is True
    else:
        with pytest.raises(TransitionRefusedError):
            is_news(last, 3 + step, after)


@pytest.mark.parametrize(("jobndx", "state"), list(itertools.product([0, 1], JobState)))
def test_a_history_begins_with_new(jobndx: int, state: JobState) -> None:
    if (jobndx, state) == (0, S.new):
        assert is_news(None, jobndx, state)
    else:
        with pytest.raises(TransitionRefusedError):
            is_news(None, jobndx, state)


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(JobState)), max_size=60))
def test_whatever_is_reported_a_final_state_stays_final(
    reports: list[tuple[int, JobState]],
) -> None:
    history = [Transition(0.0, 0, S.new)]
    for jobndx, state in reports:
        try:
            if is_news(history[-1], jobndx, state):
                history.append(Transition(0.0, jobndx, state))
        except TransitionRefusedError:
            continue
    for before, after in itertools.pairwise(history):
        if before.state in FINAL_STATES:
            assert (after.state, after.jobndx) == (S.queued, before.jobndx + 1)
        assert after.jobndx >= before.jobndx


def test_the_diagram_shows_the_table() -> None:
    lines = diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    arrows = [line for line in lines if "-->" in line and "[*]" not in line]
    assert len(arrows) == len(TRANSITIONS)
    assert "    active --> completed: exit code 0" in lines
    assert "    failed --> queued: started again (next attempt)" in lines
    assert sum(line.endswith("--> [*]") for line in lines) == 3
