"""What is remembered of every peer, while it is connected and afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from lclstreamer.transport.url import Protocol

End = Literal["end_of_stream", "closed", "disconnected", "drained", "refused", "stalled"]
"""How a peer's stream ended: in words, by our closing towards a consumer that understands no words,
by itself, by our drain, because it was refused, or because a consumer had acknowledged nothing for
too long."""


@dataclass(slots=True)
class PeerRecord:
    """A producer or a consumer. Counts are written by one thread and may be read by others.

    Attributes:
        name: its own name for itself, or its address.
        protocol: what it speaks.
        confirms: whether it speaks this project's extension (`sp`), so that it can confirm.
        messages, bytes: received from a producer, or sent to a consumer; bytes of payload.
        acknowledged_messages, acknowledged_bytes: what a consumer has finished with.
        returned_messages: what a consumer was sent but has left to others.
        lost_bytes: of a message that a producer broke off, or that came too late for the queue.
        end: how it ended; None while it is connected.
        problems: what went wrong, one sentence each.
        is_complete: whether nothing that this producer sent can be missing.
        connected_unix, ended_unix, first_message_unix, last_message_unix: seconds.
    """

    name: str
    protocol: Protocol = "nng"
    confirms: bool = False
    messages: int = 0
    bytes: int = 0
    acknowledged_messages: int = 0
    acknowledged_bytes: int = 0
    returned_messages: int = 0
    lost_bytes: int = 0
    end: End | None = None
    problems: list[str] = field(default_factory=list)
    connected_unix: float = field(default_factory=time.time)
    ended_unix: float | None = None
    first_message_unix: float | None = None
    last_message_unix: float | None = None

    def count(self, messages: int, payload_bytes: int) -> None:
        """Note messages that came or went just now."""
        now = time.time()
        if self.first_message_unix is None:
            self.first_message_unix = now
        self.last_message_unix = now
        self.messages += messages
        self.bytes += payload_bytes

    def close(self, end: End) -> None:
        """Note how it ended; the first word stands."""
        if self.end is None:
            self.end = end
            self.ended_unix = time.time()

    def to_json(self) -> dict[str, Any]:
        """The facts for a ledger."""
        return {slot: getattr(self, slot) for slot in self.__slots__}
