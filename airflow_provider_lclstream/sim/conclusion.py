"""What the demo can say at its end: the counts, the timings, the ledger and the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow_provider_lclstream.sim.follow import FollowedTransfer
from airflow_provider_lclstream.sim.picture import draw
from airflow_provider_lclstream.sim.verify import Arrivals, read_arrivals
from lclstreamer.core.units import format_bytes

MILESTONES = ("dag_run", "streamer_active", "first_event", "completed")
SLOWEST = tuple(f"seconds_to_{milestone}" for milestone in MILESTONES)
"""Of several transfers in a burst the slowest counts."""
SUMMED = (
    "events_produced", "events_delivered", "events_lost", "events_duplicated", "messages",
    "bytes", "hits", "hits_simulated",
)  # fmt: skip


def conclude(transfers: list[FollowedTransfer], folder: Path) -> dict[str, Any]:
    """Read what arrived, compare it with what was produced, draw the picture, write the result.

    The state is ``completed`` only if every event of every run arrived exactly once, the books
    agree with that, and the hits that were put into the shots were found again.
    """
    arrived = [read_arrivals(transfer.message_files()) for transfer in transfers]
    rows = [_row(transfer, found) for transfer, found in zip(transfers, arrived, strict=True)]
    completed = sum(row["state"] == "completed" for row in rows)
    first, picture = transfers[0].run, folder / "picture.png"
    title = f"{first.experiment} run {first.run_number}, streamed"
    draw(arrived[0].view, picture, title=title, facts=_facts(rows[0], arrived[0]))
    result: dict[str, Any] = {
        "state": "completed" if completed == len(rows) else "failed",
        "transfers_completed": completed,
        **{name: sum(row[name] for row in rows) for name in SUMMED},
        **{name: max(row[name] for row in rows) for name in SLOWEST},
        "picture": str(picture),
        "ledger": rows[0]["ledger"],
        "settlement": transfers[0].settlement,
        "format": first.format,
        "folder": str(folder),
    }
    if len(rows) > 1:
        result["runs"] = rows
    (folder / "result.json").write_text(json.dumps(result, indent=2), encoding="utf-8")
    return result


def _row(transfer: FollowedTransfer, arrived: Arrivals) -> dict[str, Any]:
    """One transfer: what was asked of it, what arrived, what the books say."""
    expected = transfer.run.event_ids
    lost, foreign = arrived.lost(expected), arrived.foreign(expected)
    produced = int(transfer.settlement.get("events_produced", 0))
    is_complete = (
        transfer.settlement.get("state") == "completed"
        and produced == arrived.delivered
        and not (lost or foreign or arrived.duplicated)
        and arrived.view.hits == transfer.run.hits
    )
    return {
        "run_number": transfer.run.run_number,
        "state": "completed" if is_complete else "failed",
        "events_produced": produced,
        "events_delivered": arrived.delivered - foreign,
        "events_lost": lost,
        "events_duplicated": arrived.duplicated,
        "messages": arrived.messages,
        "bytes": arrived.bytes,
        "hits": arrived.view.hits,
        "hits_simulated": transfer.run.hits,
        "events_per_consumer": dict(arrived.per_consumer),
        **{f"seconds_to_{name}": transfer.seconds.get(name, 0.0) for name in MILESTONES},
        "ledger": _ledger(transfer),
    }


def _ledger(transfer: FollowedTransfer) -> dict[str, Any]:
    buffer = transfer.jobs.get("buffer")
    try:
        return json.loads((buffer.work / "ledger.json").read_text()) if buffer else {}
    except (OSError, ValueError):
        return {}


def _facts(row: dict[str, Any], arrived: Arrivals) -> list[str]:
    shares = ", ".join(str(count) for _, count in sorted(arrived.per_consumer.items()))
    return [
        f"{row['events_delivered']} events in {row['messages']} messages, "
        f"{format_bytes(row['bytes'])}",
        f"lost {row['events_lost']}, twice {row['events_duplicated']}; per consumer {shares}",
        f"first event {row['seconds_to_first_event']:.1f} s after the run began",
        f"all delivered and settled after {row['seconds_to_completed']:.1f} s",
    ]
