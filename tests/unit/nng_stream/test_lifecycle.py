from __future__ import annotations

import itertools

import pytest
from nng_stream.lifecycle import TABLE, State, Stimulus, step

EVERY_STEP = list(itertools.product(State, Stimulus))


@pytest.mark.parametrize(("state", "stimulus"), EVERY_STEP)
def test_every_step_is_in_the_table_or_changes_nothing(state, stimulus):
    after = step(state, stimulus)
    assert after is TABLE.get((state, stimulus), state)
    order = list(State)
    assert order.index(after) >= order.index(state), "a buffer never goes back"


@pytest.mark.parametrize("stimulus", Stimulus)
def test_nothing_happens_after_the_end(stimulus):
    assert step(State.FINISHED, stimulus) is State.FINISHED


@pytest.mark.parametrize("state", [state for state in State if state is not State.FINISHED])
def test_every_state_can_be_ended_at_once_and_in_good_order(state):
    assert step(state, Stimulus.KILLED) is State.FINISHED
    drained = step(state, Stimulus.DRAIN_ASKED)
    assert drained is State.DRAINING
    assert step(drained, Stimulus.DELIVERED) is State.FINISHED
    assert step(drained, Stimulus.DRAIN_EXPIRED) is State.FINISHED


def test_a_stream_is_never_delivered_before_it_was_drained():
    assert step(State.WAITING, Stimulus.DELIVERED) is State.WAITING
    assert step(State.FLOWING, Stimulus.DELIVERED) is State.FLOWING


def test_timeouts_act_in_their_own_state_only():
    acting = {s for s, stimulus in TABLE if stimulus is Stimulus.START_EXPIRED}
    assert acting == {State.WAITING}
    acting = {s for s, stimulus in TABLE if stimulus is Stimulus.IDLE_EXPIRED}
    assert acting == {State.FLOWING}
    acting = {s for s, stimulus in TABLE if stimulus is Stimulus.DRAIN_EXPIRED}
    assert acting == {State.DRAINING}
