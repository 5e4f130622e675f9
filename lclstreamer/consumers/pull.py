"""Take the messages of a stream.

For programs::

    for message in pull("tcp://buffer.example.org:5000"):
        work_on(message)

ends with `IncompleteStreamError` if the stream was cut short.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lclstreamer.consumers.files import Sink
from lclstreamer.core.errors import IncompleteStreamError
from lclstreamer.transport.connect import PullSocket, open_pull
from lclstreamer.transport.url import Endpoint


@dataclass(slots=True)
class PullSummary:
    """What was taken from a stream.

    Attributes:
        messages, bytes: how many, and their payload.
        end: ``end_of_stream`` if the other side said so and the counts agree, ``count_reached`` if
            as many came as were asked for, ``incomplete`` if it ended and said what is missing,
            else ``disconnected``.
        seconds: from connecting to the end.
        first_message_unix, last_message_unix: when they came, in seconds.
        problems: what went wrong, one sentence each.
        ledger: what the buffer says about the whole stream.
    """

    messages: int = 0
    bytes: int = 0
    end: Literal["end_of_stream", "count_reached", "incomplete", "disconnected"] = "disconnected"
    seconds: float = 0.0
    first_message_unix: float | None = None
    last_message_unix: float | None = None
    problems: list[str] = field(default_factory=list)
    ledger: dict[str, Any] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether nothing that was wanted can be missing."""
        return self.end in {"end_of_stream", "count_reached"}

    def to_json(self) -> dict[str, Any]:
        """The summary for ``--json``."""
        return asdict(self)


def pull(
    endpoint: str | Endpoint,
    *,
    listen: bool = False,
    name: str = "",
    timeout_seconds: float = 30.0,
    idle_timeout_seconds: float = 3600.0,
) -> Iterator[memoryview]:
    """Iterate over the messages of a stream. To take the next one acknowledges the last.

    Args:
        endpoint: where to dial, or listen.
        listen: whether producers dial this program.
        name: what ledgers call it; by default ``host:pid``.
        timeout_seconds: how long to try dialing.
        idle_timeout_seconds: how long to wait for a message.

    Raises:
        UnavailableError: nobody listens there, or no message came in time.
        IncompleteStreamError: the stream was cut short.
    """
    with open_pull(endpoint, listen=listen, name=name, timeout_seconds=timeout_seconds) as stream:
        while (message := stream.receive(idle_timeout_seconds)) is not None:
            yield message
        if stream.end is None or stream.end.reason != "end_of_stream":
            raise cut_short(stream)


def cut_short(stream: PullSocket) -> IncompleteStreamError:
    """The error that says how a stream ended too early."""
    end = stream.end
    why = "; ".join(end.problems) if end and end.problems else "the other side left without a word"
    is_told = end is not None and end.reason == "incomplete"
    how = "ended incomplete" if is_told else "was cut short"
    return IncompleteStreamError(
        f"the stream from {stream.endpoint} {how} after {end.messages if end else 0} "
        f"messages: {why}",
        mend="see the buffer's ledger and the reports of the ranks"
        if is_told
        else "see the buffer's ledger; ZeroMQ and plain nng peers cannot confirm an end at all",
    )


def pull_into(
    sink: Sink, stream: PullSocket, *, count: int = 0, idle_timeout_seconds: float = 3600.0
) -> PullSummary:
    """Write the messages of a stream into a sink, and say how it ended.

    Args:
        sink: where messages go; each is acknowledged after it has been written.
        stream: the open socket; it is left open.
        count: stop after so many messages; 0 takes all.
        idle_timeout_seconds: how long to wait for a message.

    Raises:
        UnavailableError: no message came in time.
        OutputError: a message cannot be written.
    """
    summary, begun = PullSummary(), time.monotonic()
    while not count or summary.messages < count:
        message = stream.receive(idle_timeout_seconds)
        if message is None:
            break
        summary.last_message_unix = time.time()
        summary.first_message_unix = summary.first_message_unix or summary.last_message_unix
        sink.write(message)
        summary.messages += 1
        summary.bytes += len(message)
    stream.acknowledge()
    sink.close()
    summary.seconds = round(time.monotonic() - begun, 6)
    if stream.end is not None:
        summary.end = stream.end.reason
        summary.problems, summary.ledger = stream.end.problems, stream.end.ledger
    elif count:
        summary.end = "count_reached"
    return summary
