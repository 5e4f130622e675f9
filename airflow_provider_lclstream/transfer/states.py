"""A transfer's life as two tables, without any I/O.

Three roles take part: the *buffer*, the *streamer* and the transfer's *owner* (the person or
program that asked for it, and the settlement at the end). The first table, `STEPS`, says how one
role moves when a `Stimulus` concerns it. The second, `JOINT`, reads the three roles together: the
first row that fits gives the transfer's `State` and what has to be done about it, e.g. "buffer
gone while the streamer is active: cancel the streamer".

::

    step(transfer, Stimulus.STREAMER_ACTIVE) -> Transfer      # a new one; nothing is changed
    transfer.state, transfer.instructions, transfer.story

Reports may come twice or late, so a stimulus that was already taken is a step to the same place.
One that cannot happen raises `InvalidTransition`, which tells the whole story.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from lclstreamer.core.errors import InternalError


class State(StrEnum):
    """What a transfer as a whole is doing."""

    PROVISIONING = "provisioning"
    """The buffer is being started; nobody can connect yet."""
    READY = "ready"
    """The buffer's endpoints are known; the streamer does not run yet."""
    STREAMING = "streaming"
    """The streamer runs and sends through the buffer."""
    DRAINING = "draining"
    """The streamer has ended; consumers take what the buffer holds; then it is settled."""
    COMPLETED = "completed"
    """Final: every message that was produced was delivered."""
    FAILED = "failed"
    """Final: something was lost or never started; the settlement says what."""
    CANCELING = "canceling"
    """Its jobs are being canceled, by request or because the other job is gone."""
    CANCELED = "canceled"
    """Final: ended by request."""

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen any more."""
        return self in {State.COMPLETED, State.FAILED, State.CANCELED}


class Buffer(StrEnum):
    """Where the buffer's job stands."""

    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class Streamer(StrEnum):
    """Where the streamer's job stands."""

    ABSENT = "absent"
    QUEUED = "queued"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class Owner(StrEnum):
    """What the owner of the transfer wants, and how the ledgers were judged."""

    WANTS = "wants"
    CANCELS = "cancels"
    SETTLED_COMPLETE = "settled_complete"
    SETTLED_INCOMPLETE = "settled_incomplete"


class Stimulus(StrEnum):
    """Everything that can happen to a transfer. The word before the first ``_`` is the role."""

    BUFFER_SUBMITTED = "buffer_submitted"
    BUFFER_READY = "buffer_ready"
    BUFFER_COMPLETED = "buffer_completed"
    BUFFER_FAILED = "buffer_failed"
    BUFFER_CANCELED = "buffer_canceled"
    STREAMER_SUBMITTED = "streamer_submitted"
    STREAMER_ACTIVE = "streamer_active"
    STREAMER_COMPLETED = "streamer_completed"
    STREAMER_FAILED = "streamer_failed"
    STREAMER_CANCELED = "streamer_canceled"
    OWNER_CANCELS = "owner_cancels"
    OWNER_SETTLES_COMPLETE = "owner_settles_complete"
    OWNER_SETTLES_INCOMPLETE = "owner_settles_incomplete"


class Instruction(StrEnum):
    """What has to be done now. Doing it twice must be harmless."""

    SUBMIT_BUFFER = "submit_buffer"
    SUBMIT_STREAMER = "submit_streamer"
    DRAIN_BUFFER = "drain_buffer"
    CANCEL_BUFFER = "cancel_buffer"
    CANCEL_STREAMER = "cancel_streamer"
    SETTLE = "settle"


_B, _T, _O, _S = Buffer, Streamer, Owner, Stimulus

_BUFFER_ENDS = {
    _S.BUFFER_COMPLETED: _B.COMPLETED,
    _S.BUFFER_FAILED: _B.FAILED,
    _S.BUFFER_CANCELED: _B.CANCELED,
}
_STREAMER_ENDS = {
    _S.STREAMER_COMPLETED: _T.COMPLETED,
    _S.STREAMER_FAILED: _T.FAILED,
    _S.STREAMER_CANCELED: _T.CANCELED,
}

STEPS: dict[str, dict[str, dict[Stimulus, Buffer | Streamer | Owner]]] = {
    "buffer": {
        _B.ABSENT: {_S.BUFFER_SUBMITTED: _B.STARTING},
        _B.STARTING: {
            _S.BUFFER_SUBMITTED: _B.STARTING, _S.BUFFER_READY: _B.READY, **_BUFFER_ENDS
        },
        _B.READY: {_S.BUFFER_SUBMITTED: _B.READY, _S.BUFFER_READY: _B.READY, **_BUFFER_ENDS},
    },
    "streamer": {
        _T.ABSENT: {_S.STREAMER_SUBMITTED: _T.QUEUED},
        _T.QUEUED: {
            _S.STREAMER_SUBMITTED: _T.QUEUED, _S.STREAMER_ACTIVE: _T.ACTIVE, **_STREAMER_ENDS
        },
        _T.ACTIVE: {
            _S.STREAMER_SUBMITTED: _T.ACTIVE, _S.STREAMER_ACTIVE: _T.ACTIVE, **_STREAMER_ENDS
        },
    },
    "owner": {
        _O.WANTS: {
            _S.OWNER_CANCELS: _O.CANCELS,
            _S.OWNER_SETTLES_COMPLETE: _O.SETTLED_COMPLETE,
            _S.OWNER_SETTLES_INCOMPLETE: _O.SETTLED_INCOMPLETE,
        },
    },
}  # fmt: skip
"""Role → where it stands → stimulus → where it stands then.

A state without a row is final for its role: it stays what it first became, and later reports
change nothing (a canceled transfer is still settled; canceled it stays).
"""

_BUFFER_LIVES = frozenset({_B.STARTING, _B.READY})
_BUFFER_GONE = frozenset({_B.FAILED, _B.CANCELED})
_BUFFER_ENDED = _BUFFER_GONE | {_B.COMPLETED}
_STREAMER_LIVES = frozenset({_T.QUEUED, _T.ACTIVE})
_STREAMER_BROKE = frozenset({_T.FAILED, _T.CANCELED})
_STREAMER_ENDED = _STREAMER_BROKE | {_T.COMPLETED}
_ANY_BUFFER, _ANY_STREAMER = frozenset(_B), frozenset(_T)

NEEDS: dict[Stimulus, tuple[frozenset[Buffer], frozenset[Streamer]]] = {
    # A streamer needs endpoints to send to; what still runs cannot have been delivered whole.
    _S.STREAMER_SUBMITTED: (frozenset({_B.READY}), _ANY_STREAMER),
    _S.OWNER_SETTLES_COMPLETE: (frozenset({_B.COMPLETED}), frozenset({_T.COMPLETED})),
}
"""Where the two jobs must stand for a stimulus to move its role."""


class Rule(NamedTuple):
    """One row of the joint table: who stands where, what that means, what to do, and why."""

    owner: frozenset[Owner]
    buffer: frozenset[Buffer]
    streamer: frozenset[Streamer]
    state: State
    instructions: tuple[Instruction, ...]
    why: str


def _row(
    owner: set[Owner],
    buffer: frozenset[Buffer] | Buffer,
    streamer: frozenset[Streamer] | Streamer,
    state: State,
    instructions: tuple[Instruction, ...],
    why: str,
) -> Rule:
    buffers = frozenset({buffer}) if isinstance(buffer, Buffer) else buffer
    streamers = frozenset({streamer}) if isinstance(streamer, Streamer) else streamer
    return Rule(frozenset(owner), buffers, streamers, state, instructions, why)


_I = Instruction
_GIVEN_UP = {_O.CANCELS, _O.SETTLED_INCOMPLETE}

JOINT: tuple[Rule, ...] = (
    _row({_O.SETTLED_COMPLETE}, _ANY_BUFFER, _ANY_STREAMER, State.COMPLETED, (), "all delivered"),
    _row(_GIVEN_UP, _BUFFER_LIVES, _STREAMER_LIVES, State.CANCELING,
         (_I.CANCEL_STREAMER, _I.CANCEL_BUFFER), "given up"),
    _row(_GIVEN_UP, _BUFFER_LIVES, _ANY_STREAMER, State.CANCELING, (_I.CANCEL_BUFFER,),
         "given up"),
    _row(_GIVEN_UP, _ANY_BUFFER, _STREAMER_LIVES, State.CANCELING, (_I.CANCEL_STREAMER,),
         "given up"),
    _row({_O.CANCELS}, _ANY_BUFFER, _ANY_STREAMER, State.CANCELED, (), "by request"),
    _row({_O.SETTLED_INCOMPLETE}, _ANY_BUFFER, _ANY_STREAMER, State.FAILED, (),
         "the ledgers do not agree"),
    _row({_O.WANTS}, _BUFFER_GONE, _STREAMER_LIVES, State.CANCELING, (_I.CANCEL_STREAMER,),
         "buffer gone while the streamer lives"),
    _row({_O.WANTS}, _BUFFER_ENDED, _T.ABSENT, State.FAILED, (), "buffer ended without streamer"),
    # A buffer counts its producers' end of stream, so it may end moments before their job does.
    _row({_O.WANTS}, _B.COMPLETED, _STREAMER_LIVES, State.DRAINING, (), "streamer ends"),
    _row({_O.WANTS}, _BUFFER_ENDED, _STREAMER_ENDED, State.DRAINING, (_I.SETTLE,), "both ended"),
    _row({_O.WANTS}, _BUFFER_LIVES, _STREAMER_BROKE, State.DRAINING, (_I.DRAIN_BUFFER,),
         "no more will come; consumers get what was produced"),
    _row({_O.WANTS}, _BUFFER_LIVES, _T.COMPLETED, State.DRAINING, (), "consumers take the rest"),
    _row({_O.WANTS}, _B.ABSENT, _ANY_STREAMER, State.PROVISIONING, (_I.SUBMIT_BUFFER,), "asked"),
    _row({_O.WANTS}, _B.STARTING, _ANY_STREAMER, State.PROVISIONING, (), "buffer starts"),
    _row({_O.WANTS}, _B.READY, _T.ABSENT, State.READY, (_I.SUBMIT_STREAMER,), "consumers connect"),
    _row({_O.WANTS}, _B.READY, _T.QUEUED, State.READY, (), "streamer waits for a node"),
    _row({_O.WANTS}, _B.READY, _T.ACTIVE, State.STREAMING, (), "events flow"),
)  # fmt: skip
"""What the roles mean together; the first row that fits counts, and one always fits."""


class InvalidTransition(InternalError):  # noqa: N818  (the field's usual name)
    """A stimulus came that cannot come here; the problem tells everything that came before."""


@dataclass(frozen=True)
class Transfer:
    """Where the three roles of one transfer stand, and how they came there."""

    buffer: Buffer = Buffer.ABSENT
    streamer: Streamer = Streamer.ABSENT
    owner: Owner = Owner.WANTS
    story: tuple[str, ...] = field(default=(), compare=False)

    @property
    def rule(self) -> Rule:
        """The row of the joint table that counts."""
        return joint_rule(self.buffer, self.streamer, self.owner)

    @property
    def state(self) -> State:
        """What the transfer as a whole is doing."""
        return self.rule.state

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """What has to be done now."""
        return self.rule.instructions


def joint_rule(buffer: Buffer, streamer: Streamer, owner: Owner = Owner.WANTS) -> Rule:
    """The first row of `JOINT` that fits; a test proves that one always does."""
    return next(
        row
        for row in JOINT
        if owner in row.owner and buffer in row.buffer and streamer in row.streamer
    )


_STARTS = frozenset({Stimulus.BUFFER_SUBMITTED, Stimulus.STREAMER_SUBMITTED})


def step(transfer: Transfer, stimulus: Stimulus) -> Transfer:
    """The transfer after one stimulus; in a final state reports change nothing.

    Raises:
        InvalidTransition: it cannot come here. A job submitted for a transfer that has ended is
            such a case: whoever submitted it has to cancel it.
    """
    role = stimulus.partition("_")[0]
    here: Buffer | Streamer | Owner = getattr(transfer, role)
    row = STEPS[role].get(here)
    there = here if row is None else row.get(stimulus)
    if there is here or (transfer.state.is_final and stimulus not in _STARTS):
        return transfer
    buffers, streamers = NEEDS.get(stimulus, (_ANY_BUFFER, _ANY_STREAMER))
    is_late = transfer.state.is_final or there is None
    if is_late or transfer.buffer not in buffers or transfer.streamer not in streamers:
        told = " → ".join([*transfer.story, stimulus])
        raise InvalidTransition(
            f"{stimulus} cannot come while buffer={transfer.buffer}, streamer={transfer.streamer},"
            f" transfer={transfer.state}; the story: {told}",
            mend="report it with the story; the state table and the transfer's tasks disagree",
        )
    return replace(transfer, **{role: there}, story=(*transfer.story, str(stimulus)))
