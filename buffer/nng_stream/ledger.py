"""What a buffer received and what became of it, by producer and consumer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lclstreamer.transport.records import PeerRecord

LEDGER_FILE = "ledger.json"


@dataclass(frozen=True, slots=True)
class Count:
    """Messages and their payload in bytes."""

    messages: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of a stream.

    Every received message was acknowledged, or was sent to somebody who cannot confirm, or is
    undelivered.

    Attributes:
        state: ``incomplete`` as soon as something is missing for certain; otherwise ``open`` while
            it flows, and ``completed`` at the end.
        received: from producers.
        sent: to consumers, what was sent again included.
        acknowledged: consumers have finished with it.
        unconfirmed: sent to consumers that cannot confirm.
        redelivered: sent again, because its consumer had gone.
        undelivered: nobody took it, or nobody confirmed it who could have.
        refused_connections: of ``producers`` and ``consumers`` that may not connect, or whose TLS
            did not come about.
        producers, consumers: one entry for each that came.
        problems: why it is not complete, one sentence each.
        first_message_unix, last_message_unix: when messages came in, in seconds.
        peak_queued_bytes: the most memory that was in use for messages.
        back_pressure_seconds: how long inlets waited for memory, all together.
    """

    state: str
    received: Count
    sent: Count
    acknowledged: Count
    unconfirmed: Count
    redelivered: Count
    undelivered: Count
    refused_connections: dict[str, int] = field(default_factory=dict[str, int])
    producers: list[dict[str, Any]] = field(default_factory=list)
    consumers: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    first_message_unix: float | None = None
    last_message_unix: float | None = None
    peak_queued_bytes: int = 0
    back_pressure_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The document that is written to ``ledger.json``."""
        return {"version": 1, **asdict(self)}

    @property
    def totals(self) -> dict[str, Any]:
        """The numbers without the peers, as consumers hear them at the end."""
        return {
            "state": self.state,
            **{
                name: asdict(getattr(self, name))
                for name in ("received", "sent", "acknowledged", "unconfirmed", "redelivered")
            },
        }


def draw_up(
    producers: Sequence[PeerRecord],
    consumers: Sequence[PeerRecord],
    *,
    redelivered: Count,
    waiting: Count,
    problems: Iterable[str] = (),
    refused_connections: dict[str, int] | None = None,
    is_final: bool,
    peak_queued_bytes: int = 0,
    back_pressure_seconds: float = 0.0,
) -> Ledger:
    """Make the account of what the records say.

    Args:
        producers: everybody that came in.
        consumers: everybody that took out.
        redelivered: what was sent again.
        waiting: what is queued, or held by consumers that have not finished with it.
        problems: of the buffer itself.
        refused_connections: by side.
        is_final: whether nothing more will happen.
        peak_queued_bytes: the most memory that was in use for messages.
        back_pressure_seconds: how long inlets waited for memory.
    """
    received = _sum(producers)
    acknowledged = Count(
        sum(record.acknowledged_messages for record in consumers),
        sum(record.acknowledged_bytes for record in consumers),
    )
    unconfirmed = _sum(record for record in consumers if not record.confirms)
    found = [*problems, *(text for record in (*producers, *consumers) for text in record.problems)]
    found += _returns(producers)
    if is_final:
        found += _faults(received, acknowledged, unconfirmed, waiting)
    firsts = [r.first_message_unix for r in producers if r.first_message_unix is not None]
    lasts = [r.last_message_unix for r in producers if r.last_message_unix is not None]
    return Ledger(
        state="incomplete" if found else "completed" if is_final else "open",
        received=received,
        sent=_sum(consumers),
        acknowledged=acknowledged,
        unconfirmed=unconfirmed,
        redelivered=redelivered,
        undelivered=waiting,
        refused_connections=refused_connections or {},
        producers=[_producer(record) for record in producers],
        consumers=[_consumer(record) for record in consumers],
        problems=found,
        first_message_unix=min(firsts, default=None),
        last_message_unix=max(lasts, default=None),
        peak_queued_bytes=peak_queued_bytes,
        back_pressure_seconds=round(back_pressure_seconds, 3),
    )


def _returns(producers: Sequence[PeerRecord]) -> list[str]:
    """Who came again, under its name, after it had died: it may have sent the same once more."""
    found: list[str] = []
    for number, record in enumerate(producers):
        came_again = any(later.name == record.name for later in producers[number + 1 :])
        if came_again and record.messages and record.end not in {None, "end_of_stream", "closed"}:
            found.append(
                f"producer {record.name}: came again after it had died; the {record.messages} "
                "messages that it had sent before may be there twice"
            )
    return found


def _sum(records: Iterable[PeerRecord]) -> Count:
    counts = [(record.messages, record.bytes) for record in records]
    return Count(sum(messages for messages, _ in counts), sum(size for _, size in counts))


def _faults(
    received: Count, acknowledged: Count, unconfirmed: Count, undelivered: Count
) -> list[str]:
    faults: list[str] = []
    if undelivered.messages:
        faults.append(
            f"{undelivered.messages} of {received.messages} messages "
            f"({undelivered.bytes} bytes) were not delivered"
        )
    accounted = Count(
        acknowledged.messages + unconfirmed.messages + undelivered.messages,
        acknowledged.bytes + unconfirmed.bytes + undelivered.bytes,
    )
    if accounted != received:
        faults.append(
            f"the account does not balance: {received.messages} messages ({received.bytes} bytes) "
            f"received, {accounted.messages} ({accounted.bytes} bytes) accounted for"
        )
    return faults


_COMMON = (
    "name", "protocol", "confirms", "messages", "bytes", "end", "connected_unix", "ended_unix",
    "first_message_unix", "last_message_unix", "problems",
)  # fmt: skip


def _producer(record: PeerRecord) -> dict[str, Any]:
    return _facts(record, "lost_bytes")


def _consumer(record: PeerRecord) -> dict[str, Any]:
    return _facts(record, "acknowledged_messages", "acknowledged_bytes", "returned_messages")


def _facts(record: PeerRecord, *more: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in (*_COMMON, *more)}
