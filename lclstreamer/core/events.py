"""What flows through the engine: an event, a batch of events, a serialised message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


@dataclass(slots=True)
class Event:
    """One shot.

    Attributes:
        event_id: identifies the shot within its run: psana's timestamp (seconds << 32 | ns), or
            the index in a synthetic or replayed run. Below 2**64.
        data: one array per requested data source, ``None`` where the event lacks it. A scalar is a
            0-d array; text is a numpy string array.
    """

    event_id: int
    data: dict[str, Array | None]


@dataclass(slots=True)
class Batch:
    """Consecutive events of one rank, stacked.

    Attributes:
        data: per data source an array of shape (events, …).
        event_ids: uint64, shape (events,), in the order of the rows.
        run: what the events were read from, e.g. ``exp=tmox42619,run=42``.
        rank: the producing rank.
        sequence: 0, 1, 2 … per rank; a gap at the consumer is a lost message.
    """

    data: dict[str, Array]
    event_ids: NDArray[np.uint64]
    run: str
    rank: int
    sequence: int

    def __len__(self) -> int:
        return len(self.event_ids)


@dataclass(slots=True)
class Message:
    """One serialised batch, opaque to everything between serializer and consumer.

    Attributes:
        payload: the bytes.
        rank: the producing rank.
        sequence: the batch's number on that rank.
        events: how many events are inside.
    """

    payload: bytes | bytearray | memoryview
    rank: int
    sequence: int
    events: int

    @property
    def size_bytes(self) -> int:
        """The payload's length in bytes."""
        return len(self.payload)


@dataclass(slots=True)
class DeliveryReport:
    """What a handler did with the messages it was given, told at the end.

    Attributes:
        handler: the handler's name and target, for people.
        messages: messages it took.
        bytes: their payload.
        confirmed_messages: messages whose arrival was proved (written and renamed, acknowledged);
            None where the peer cannot confirm.
        problems: what went wrong, one sentence each; empty when everything arrived.
    """

    handler: str
    messages: int = 0
    bytes: int = 0
    confirmed_messages: int | None = None
    problems: list[str] = field(default_factory=list)
