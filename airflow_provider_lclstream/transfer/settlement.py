"""Was everything that was produced delivered? The streamer's reports against the buffer's ledger.

A transfer is complete only if every rank reported, none had a problem, the buffer received what
the ranks say they sent, and nothing it received is undelivered. Anything else is a failure, with
the numbers in its problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lclstreamer.parameters.base import StrictModel


class _Told(BaseModel):
    """Something another program wrote: what it adds later is no mistake."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class RankReport(_Told):
    """One rank's ``report.rNNNN.json``."""

    rank: int = Field(ge=0)
    size: int = Field(ge=1)
    role: str = "events"
    """``events`` for a rank that produces events, anything else for psana's helpers."""
    messages: int = Field(default=0, ge=0)
    bytes: int = Field(default=0, ge=0)
    events: int = Field(default=0, ge=0)
    skipped_events: int = Field(default=0, ge=0)
    problems: tuple[str, ...] = ()
    exit_code: int = 0
    first_event_unix: float | None = None
    last_event_unix: float | None = None


class Count(_Told):
    """Messages and their payload."""

    messages: int = Field(default=0, ge=0)
    bytes: int = Field(default=0, ge=0)


class BufferLedger(_Told):
    """The buffer's ``ledger.json``."""

    state: str
    received: Count = Count()
    sent: Count = Count()
    acknowledged: Count = Count()
    unconfirmed: Count = Count()
    redelivered: Count = Count()
    undelivered: Count = Count()
    producers: tuple[dict[str, Any], ...] = ()
    consumers: tuple[dict[str, Any], ...] = ()
    problems: tuple[str, ...] = ()
    first_message_unix: float | None = None
    last_message_unix: float | None = None


class Settlement(StrictModel):
    """How a transfer ended, in numbers."""

    state: Literal["completed", "failed"]
    events_produced: int
    """Events in the messages that were sent."""
    events_skipped: int
    """Events left out because a detector was missing in them."""
    messages_produced: int
    messages_received: int
    """Messages that reached the buffer."""
    messages_delivered: int
    """Messages handed to consumers; `messages_unconfirmed` of them to peers that cannot confirm."""
    messages_lost: int
    messages_unconfirmed: int
    messages_redelivered: int
    """Messages given to a second consumer because the first died before it confirmed them."""
    bytes_delivered: int
    ranks_reported: int
    ranks_expected: int
    consumers: int
    first_event_unix: float | None = None
    last_event_unix: float | None = None
    problems: tuple[str, ...] = ()
    """Every reason why the transfer is not complete; empty when it is."""


def settle(reports: Sequence[RankReport], ledger: BufferLedger | None, *, ranks: int) -> Settlement:
    """Compare what the ranks say they sent with what the buffer says it delivered.

    Args:
        reports: every report that was found.
        ledger: the buffer's ledger, or None where there is none.
        ranks: how many event-producing ranks were asked for.
    """
    producing = [report for report in reports if report.role == "events"]
    produced = sum(report.messages for report in producing)
    book = ledger or BufferLedger(state="missing")
    delivered = max(0, book.received.messages - book.undelivered.messages)
    problems = _problems(reports, producing, ranks, produced, ledger)
    starts = [r.first_event_unix for r in producing if r.first_event_unix is not None]
    ends = [r.last_event_unix for r in producing if r.last_event_unix is not None]
    return Settlement(
        state="failed" if problems else "completed",
        events_produced=sum(report.events for report in producing),
        events_skipped=sum(report.skipped_events for report in producing),
        messages_produced=produced,
        messages_received=book.received.messages,
        messages_delivered=delivered,
        messages_lost=max(0, max(produced, book.received.messages) - delivered),
        messages_unconfirmed=book.unconfirmed.messages,
        messages_redelivered=book.redelivered.messages,
        bytes_delivered=max(0, book.received.bytes - book.undelivered.bytes),
        ranks_reported=len(producing),
        ranks_expected=ranks,
        consumers=len(book.consumers),
        first_event_unix=min(starts, default=None),
        last_event_unix=max(ends, default=None),
        problems=tuple(problems),
    )


def _problems(
    reports: Sequence[RankReport],
    producing: Sequence[RankReport],
    ranks: int,
    produced: int,
    ledger: BufferLedger | None,
) -> list[str]:
    problems = [
        f"rank {report.rank}: {problem}"
        for report in sorted(reports, key=lambda report: report.rank)
        for problem in report.problems or ([_ended(report)] if report.exit_code else [])
    ]
    if len(producing) != ranks:
        problems.append(f"{len(producing)} of {ranks} event-producing ranks left a report")
    if ledger is None:
        return [*problems, "the buffer left no ledger"]
    problems += [f"buffer: {problem}" for problem in ledger.problems]
    if ledger.received.messages != produced:
        problems.append(
            f"the ranks report {produced} messages sent, the buffer received "
            f"{ledger.received.messages}"
        )
    if ledger.undelivered.messages:
        problems.append(f"{ledger.undelivered.messages} messages were not delivered")
    if ledger.state != "completed" and not problems:
        problems.append(f"the buffer's ledger says {ledger.state!r}")
    return problems


def _ended(report: RankReport) -> str:
    return f"it ended with exit code {report.exit_code}"
