"""The state tables, over every state and every stimulus."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_lclstream.transfer.diagram import mermaid, reachable
from airflow_provider_lclstream.transfer.states import (
    JOINT,
    STEPS,
    Buffer,
    Instruction,
    InvalidTransition,
    Owner,
    State,
    Stimulus,
    Streamer,
    Transfer,
    joint_rule,
    step,
)

S = Stimulus
EVERY = [Transfer(*where) for where in itertools.product(Buffer, Streamer, Owner)]
STARTS = {S.BUFFER_SUBMITTED, S.STREAMER_SUBMITTED}


def walk(*stimuli: Stimulus) -> Transfer:
    transfer = Transfer()
    for stimulus in stimuli:
        transfer = step(transfer, stimulus)
    return transfer


def taken(transfer: Transfer, stimulus: Stimulus) -> Transfer | None:
    """The step, or None where it is refused."""
    try:
        return step(transfer, stimulus)
    except InvalidTransition:
        return None


READY = (S.BUFFER_SUBMITTED, S.BUFFER_READY)
STREAMING = (*READY, S.STREAMER_SUBMITTED, S.STREAMER_ACTIVE)


def test_every_combination_has_a_rule():
    assert {type(transfer.state) for transfer in EVERY} == {State}


@pytest.mark.parametrize("stimulus", Stimulus)
def test_every_stimulus_is_taken_or_refused_with_the_story(stimulus):
    role = stimulus.partition("_")[0]
    for transfer in EVERY:
        there = taken(transfer, stimulus)
        if there is None:
            with pytest.raises(InvalidTransition, match=f"{stimulus} cannot come while buffer="):
                step(transfer, stimulus)
            continue
        # A stimulus moves its own role alone, and taking it twice is taking it once.
        for other in {"buffer", "streamer", "owner"} - {role}:
            assert getattr(there, other) is getattr(transfer, other)
        assert step(there, stimulus) == there


@pytest.mark.parametrize("stimulus", Stimulus)
def test_final_states_stay(stimulus):
    for transfer in EVERY:
        if not transfer.state.is_final:
            continue
        there = taken(transfer, stimulus)
        assert stimulus in STARTS if there is None else there.state is transfer.state


def test_every_row_of_both_tables_is_used():
    used = {(here.rule.why, here.rule.state) for here, _, _ in reachable()}
    used |= {(there.rule.why, there.rule.state) for _, _, there in reachable()}
    assert {(row.why, row.state) for row in JOINT} == used
    moved = {
        (role, str(getattr(here, role)), stimulus)
        for here, stimulus, there in reachable()
        for role in STEPS
        if getattr(here, role) is not getattr(there, role)
    }
    rows = {
        (role, str(state), stimulus)
        for role, table in STEPS.items()
        for state, row in table.items()
        for stimulus, to in row.items()
        if to is not state and str(to) != str(state)
    }
    assert moved == rows


@pytest.mark.parametrize(
    ("stimuli", "state", "instructions"),
    [
        ((), State.PROVISIONING, (Instruction.SUBMIT_BUFFER,)),
        ((S.BUFFER_SUBMITTED,), State.PROVISIONING, ()),
        (READY, State.READY, (Instruction.SUBMIT_STREAMER,)),
        ((*READY, S.STREAMER_SUBMITTED), State.READY, ()),
        (STREAMING, State.STREAMING, ()),
        ((*STREAMING, S.STREAMER_COMPLETED), State.DRAINING, ()),
        ((*STREAMING, S.BUFFER_COMPLETED), State.DRAINING, ()),
        ((*STREAMING, S.STREAMER_FAILED), State.DRAINING, (Instruction.DRAIN_BUFFER,)),
        ((*STREAMING, S.BUFFER_FAILED), State.CANCELING, (Instruction.CANCEL_STREAMER,)),
        ((*READY, S.BUFFER_FAILED), State.FAILED, ()),
        (
            (*STREAMING, S.STREAMER_COMPLETED, S.BUFFER_COMPLETED),
            State.DRAINING,
            (Instruction.SETTLE,),
        ),
        (
            (*STREAMING, S.STREAMER_COMPLETED, S.BUFFER_COMPLETED, S.OWNER_SETTLES_COMPLETE),
            State.COMPLETED,
            (),
        ),
        (
            (*STREAMING, S.BUFFER_FAILED, S.STREAMER_CANCELED, S.OWNER_SETTLES_INCOMPLETE),
            State.FAILED,
            (),
        ),
        (
            (*STREAMING, S.OWNER_CANCELS),
            State.CANCELING,
            (Instruction.CANCEL_STREAMER, Instruction.CANCEL_BUFFER),
        ),
        (
            (*STREAMING, S.OWNER_CANCELS, S.STREAMER_CANCELED, S.BUFFER_CANCELED),
            State.CANCELED,
            (),
        ),
    ],
)
def test_stories(stimuli, state, instructions):
    transfer = walk(*stimuli)
    assert transfer.state is state
    assert transfer.instructions == instructions
    assert transfer.story == tuple(map(str, stimuli))


def test_a_streamer_needs_a_buffer_that_is_ready():
    with pytest.raises(InvalidTransition, match="streamer_submitted cannot come"):
        walk(S.BUFFER_SUBMITTED, S.STREAMER_SUBMITTED)


def test_nothing_that_still_runs_is_settled_as_complete():
    with pytest.raises(InvalidTransition):
        walk(*STREAMING, S.OWNER_SETTLES_COMPLETE)


def test_a_job_submitted_for_an_ended_transfer_is_refused():
    with pytest.raises(InvalidTransition, match="owner_cancels → buffer_submitted"):
        walk(S.OWNER_CANCELS, S.BUFFER_SUBMITTED)


@given(st.lists(st.sampled_from(list(Stimulus)), max_size=30))
def test_no_story_leaves_a_canceled_transfer_completed(stimuli):
    transfer, was_final = Transfer(), None
    for stimulus in stimuli:
        try:
            transfer = step(transfer, stimulus)
        except InvalidTransition:
            continue
        if was_final:
            assert transfer.state is was_final
        was_final = transfer.state if transfer.state.is_final else None
        if transfer.state is State.COMPLETED:
            assert (transfer.buffer, transfer.streamer) == (Buffer.COMPLETED, Streamer.COMPLETED)
        if transfer.state is State.CANCELED:
            assert S.OWNER_CANCELS in transfer.story


def test_job_states_alone_give_a_state():
    assert joint_rule(Buffer.READY, Streamer.ACTIVE).state is State.STREAMING


def test_the_diagram_comes_from_the_tables():
    lines = mermaid().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> provisioning"]
    assert "    ready --> streaming: streamer_active" in lines
    assert "    draining --> completed: owner_settles_complete" in lines
    drawn = {word for line in lines for word in line.replace(":", " ").split()}
    assert {str(state) for state in State} <= drawn
