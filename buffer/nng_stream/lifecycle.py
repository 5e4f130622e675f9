"""The life of a buffer, as a table.

::

    waiting ── producer came ──▶ flowing ── producers ended, drain asked, idle ──▶ draining
       │                                                                             │
       └── drain asked, start expired ──▶ draining ◀──                   delivered, expired
                                                                                     ▼
                         anything ── killed ──────────────────────────────────▶ finished
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a buffer is in its life."""

    WAITING = "waiting"
    """It listens; no producer has come."""
    FLOWING = "flowing"
    """Producers have come."""
    DRAINING = "draining"
    """Nothing more is taken in; the rest is delivered."""
    FINISHED = "finished"
    """Nothing more is delivered."""


class Stimulus(Enum):
    """What can happen to it."""

    PRODUCER_CAME = "a producer came"
    PRODUCERS_ENDED = "every expected producer has ended"
    DRAIN_ASKED = "a drain was asked for"
    START_EXPIRED = "no producer came in time"
    IDLE_EXPIRED = "nothing moved for too long"
    DELIVERED = "everything is delivered and the consumers know"
    DRAIN_EXPIRED = "the rest was not delivered in time"
    KILLED = "it was told to stop at once"


TABLE: dict[tuple[State, Stimulus], State] = {
    (State.WAITING, Stimulus.PRODUCER_CAME): State.FLOWING,
    (State.WAITING, Stimulus.DRAIN_ASKED): State.DRAINING,
    (State.WAITING, Stimulus.START_EXPIRED): State.DRAINING,
    (State.WAITING, Stimulus.KILLED): State.FINISHED,
    (State.FLOWING, Stimulus.PRODUCERS_ENDED): State.DRAINING,
    (State.FLOWING, Stimulus.DRAIN_ASKED): State.DRAINING,
    (State.FLOWING, Stimulus.IDLE_EXPIRED): State.DRAINING,
    (State.FLOWING, Stimulus.KILLED): State.FINISHED,
    (State.DRAINING, Stimulus.DELIVERED): State.FINISHED,
    (State.DRAINING, Stimulus.DRAIN_EXPIRED): State.FINISHED,
    (State.DRAINING, Stimulus.KILLED): State.FINISHED,
}
"""Every step; whatever is not listed changes nothing."""


def step(state: State, stimulus: Stimulus) -> State:
    """The state after a stimulus."""
    return TABLE.get((state, stimulus), state)
