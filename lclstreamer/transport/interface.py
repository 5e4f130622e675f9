"""The sockets as programs see them, whatever protocol is behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from lclstreamer.core.events import DeliveryReport
from lclstreamer.transport.url import Endpoint

Payload = bytes | bytearray | memoryview


@dataclass(slots=True)
class StreamEnd:
    """How a stream ended, as a puller sees it.

    Attributes:
        reason: ``end_of_stream`` if every producer said that it had ended and the counts agree;
            ``incomplete`` if every one ended, but something is missing, and `problems` says what;
            ``disconnected`` if one left without a word.
        messages, bytes: what was received; bytes of payload.
        ledger: what the other side says about the whole stream, e.g. a buffer's ledger.
        problems: what went wrong, one sentence each.
    """

    reason: Literal["end_of_stream", "incomplete", "disconnected"]
    messages: int
    bytes: int
    ledger: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class PushSocket(Protocol):
    """Sends messages; each reaches exactly one puller. For one thread at a time.

    Attributes:
        endpoint: where it dials or listens, with the port that was chosen.
    """

    endpoint: Endpoint

    def send(self, payload: Payload, *, timeout_seconds: float = 600.0) -> None:
        """Queue a message, waiting for room (back-pressure) for so long at most.

        ``bytes`` and read-only views are not copied: they must not change any more. Whatever else
        is given may be used again at once.

        Raises:
            UnavailableError: there was no room in time, so nobody takes messages.
            IncompleteStreamError: the peer has gone or refused; says how much it had taken.
        """
        ...

    def close(
        self, timeout_seconds: float = 60.0, *, missing: Sequence[str] = ()
    ) -> DeliveryReport:
        """Send the rest, tell the end, and wait for confirmation, for so long at most.

        ``missing`` says what could not be sent at all, one sentence each: it is told with the end,
        so that nobody takes the stream for complete.

        Never raises: what could not be delivered stands in the report's problems.
        """
        ...


class PullSocket(Protocol):
    """Receives messages. For one thread at a time.

    To take the next message acknowledges the previous one. One that was not acknowledged when
    this program dies is delivered to another.

    Attributes:
        endpoint: where it dials or listens, with the port that was chosen.
        end: how the stream ended; None before.
    """

    endpoint: Endpoint
    end: StreamEnd | None

    def receive(self, timeout_seconds: float = 3600.0) -> memoryview | None:
        """The next message, or None at the end of the stream.

        The message may be kept: its memory is not used again while anything refers to it.

        Raises:
            UnavailableError: no message came within the time.
        """
        ...

    def acknowledge(self) -> None:
        """The message received last is done with."""
        ...

    def close(self, *, acknowledge: bool = True) -> None:
        """Leave the stream; the message received last counts as done with, unless told."""
        ...

    def __iter__(self) -> Iterator[memoryview]: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...
