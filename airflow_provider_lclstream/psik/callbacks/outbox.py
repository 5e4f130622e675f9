"""What is still to be told, in SQLite: survives any crash, keeps the order of each job.

The state log of a job is the truth; ``followed`` says how many of its rows have been taken into
the outbox, in the same transaction that takes them.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_lclstream.psik.callbacks.signing import callback_body
from airflow_provider_lclstream.psik.layout import PRIVATE
from airflow_provider_lclstream.psik.states import Transition
from lclstreamer.core.errors import OutputError

OUTBOX = "outbox.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS followed (jobid TEXT PRIMARY KEY, row_count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    jobid TEXT NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, taken REAL NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, PRIMARY KEY (jobid, number)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One callback that is still to be delivered.

    Attributes:
        jobid: the job.
        number: the row of its history, from 0.
        body: what is sent.
        taken: when it came into the outbox, in seconds since 1970.
        tries: how often it was sent in vain.
        due: when it is to be sent next.
    """

    jobid: str
    number: int
    body: bytes
    taken: float
    tries: int
    due: float


def backlog(prefix: Path) -> tuple[int, float]:
    """How much a prefix's courier has still to tell, and for how many seconds the oldest waits."""
    path = prefix / PRIVATE / OUTBOX
    if not path.exists():
        return 0, 0.0
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            count, oldest = database.execute("SELECT count(*), min(taken) FROM events").fetchone()
    except sqlite3.DatabaseError:
        return 0, 0.0  # it is being made; or damaged, which the courier tells
    return count, max(0.0, time.time() - oldest) if count else 0.0


class Outbox:
    """The events of one prefix. One process at a time uses it: the courier."""

    def __init__(self, path: Path) -> None:
        try:
            self._database = sqlite3.connect(path, isolation_level=None, timeout=10)
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise OutputError(
                f"the outbox cannot be opened: {error}",
                where=str(path),
                mend="make room or mend its permissions; it may be deleted when no job runs",
            ) from error

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def follow(self, jobid: str, history: Iterable[Transition]) -> int:
        """Take the rows of a history that are new. Returns how many there were."""
        rows = list(history)
        found = self._database.execute(
            "SELECT row_count FROM followed WHERE jobid = ?", (jobid,)
        ).fetchone()
        # Row 0 is `new`, which has no callback.
        known = found[0] if found else 1
        if len(rows) <= known:
            return 0
        now = time.time()
        fresh = [
            (jobid, number, callback_body(jobid, rows[number]), now, now)
            for number in range(known, len(rows))
        ]
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany(
                "INSERT INTO events (jobid, number, body, taken, due) VALUES (?, ?, ?, ?, ?)", fresh
            )
            self._database.execute(
                "INSERT OR REPLACE INTO followed (jobid, row_count) VALUES (?, ?)",
                (jobid, len(rows)),
            )
        except sqlite3.Error:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
        return len(fresh)

    def due(self, now: float, longest_pause_seconds: float = math.inf) -> list[Event]:
        """The first undelivered event of each job, where its time has come.

        One that is due later than any pause lasts was put off before the clock was set back.
        """
        rows = self._database.execute(
            "SELECT jobid, min(number), body, taken, tries, due FROM events"
            " GROUP BY jobid HAVING due <= ? OR due > ? ORDER BY due",
            (now, now + longest_pause_seconds),
        )
        return [Event(*row) for row in rows]

    def delivered(self, event: Event) -> None:
        """Forget an event: it arrived, or was given up."""
        self._database.execute(
            "DELETE FROM events WHERE jobid = ? AND number = ?", (event.jobid, event.number)
        )

    def again(self, event: Event, due: float) -> None:
        """Note that an event was sent in vain, and when to send it next."""
        self._database.execute(
            "UPDATE events SET tries = tries + 1, due = ? WHERE jobid = ? AND number = ?",
            (due, event.jobid, event.number),
        )

    def hasten(self, jobids: Iterable[str], due: float) -> None:
        """Send what these jobs have waiting no later than at a time."""
        self._database.executemany(
            "UPDATE events SET due = ? WHERE jobid = ? AND due > ?",
            [(due, jobid, due) for jobid in jobids],
        )

    def waiting(self, jobid: str | None = None) -> int:
        """How many events are undelivered, of one job or of all."""
        # Asked for every followed job many times a second: each must find its own by the key.
        query, given = "SELECT count(*) FROM events", () if jobid is None else (jobid,)
        if given:
            query += " WHERE jobid = ?"
        return int(self._database.execute(query, given).fetchone()[0])

    def forget(self, jobid: str) -> None:
        """Drop everything about a job that was removed."""
        for table in ("events", "followed"):
            self._database.execute(f"DELETE FROM {table} WHERE jobid = ?", (jobid,))  # noqa: S608
