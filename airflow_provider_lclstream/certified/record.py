"""The record of everything an authority issued: one SQLite file, written before anything leaves."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lclstreamer.core.errors import BadInputError, OutputError, TemporaryError

WAIT_SECONDS = 30.0
"""How long a writer waits for others before it gives up."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS issues (
    serial TEXT PRIMARY KEY,
    principal TEXT NOT NULL,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    role TEXT NOT NULL,
    hosts TEXT NOT NULL,
    key_fingerprint TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    proof TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    issued_at TEXT NOT NULL,
    not_after TEXT NOT NULL,
    certificate TEXT NOT NULL,
    revoked_at TEXT,
    reason TEXT
);
CREATE INDEX IF NOT EXISTS issues_by_principal ON issues (principal, role);
CREATE INDEX IF NOT EXISTS issues_by_request ON issues (request_digest);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Issue:
    """One certificate that was issued.

    Attributes:
        serial: its serial number, 40 hexadecimal digits.
        principal: whom it names, e.g. ``uid:alice``.
        subject: the distinguished name.
        kind: person, organisation, service or job.
        role: client or server.
        hosts: the hosts it names, separated by spaces.
        key_fingerprint: of the certified public key.
        request_digest: of the request it answered.
        proof: how the requester proved to hold the key.
        requested_by: who was responsible: an operator's login name, ``renewal`` or ``uid:…``.
        issued_at: UTC, ISO 8601.
        not_after: UTC, ISO 8601.
        certificate: base64url DER.
        revoked_at: UTC, ISO 8601, or None.
        reason: why it was revoked, or None.
    """

    serial: str
    principal: str
    subject: str
    kind: str
    role: str
    hosts: str
    key_fingerprint: str
    request_digest: str
    proof: str
    requested_by: str
    issued_at: str
    not_after: str
    certificate: str
    revoked_at: str | None = None
    reason: str | None = None

    @property
    def status(self) -> str:
        """``revoked``, ``expired`` or ``valid``."""
        if self.revoked_at:
            return "revoked"
        return "expired" if datetime.fromisoformat(self.not_after) < datetime.now(UTC) else "valid"

    def to_json(self) -> dict[str, Any]:
        """All facts, with the status."""
        return {"status": self.status, **asdict(self)}


_COLUMNS = tuple(Issue.__dataclass_fields__)


class Record:
    """The issues of one authority; any number of processes may write at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """A connection that holds the write lock; committed at the end, undone on an error.

        Raises:
            OutputError: the disk is full or the file cannot be written.
            TemporaryError: others held the lock too long.
        """
        with self._translated(), contextlib.closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def _connect(self) -> sqlite3.Connection:
        if not self._path.exists():
            # Made by us, so that it is never readable by others, not even for a moment.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self._path, timeout=WAIT_SECONDS, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.executescript(_SCHEMA)
        return connection

    @contextlib.contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "locked" in str(error):
                raise TemporaryError(
                    "the record of issues is busy", mend="try again", where=str(self._path)
                ) from error
            raise OutputError(
                f"the record of issues cannot be used: {error}",
                mend="check the free space and permissions of the identity folder; "
                "nothing was issued",
                where=str(self._path),
            ) from error

    def issues(self, *, principal: str | None = None, serial: str | None = None) -> list[Issue]:
        """What was issued, oldest first, all of it or that of one principal or serial number."""
        where, values = "1", ()
        if serial is not None:
            where, values = "serial = ?", (serial,)
        elif principal is not None:
            where, values = "principal = ?", (principal,)
        if not self._path.exists():
            return []
        query = f"SELECT {', '.join(_COLUMNS)} FROM issues WHERE {where} ORDER BY issued_at, rowid"  # noqa: S608
        with self._translated(), contextlib.closing(self._connect()) as connection:
            return [Issue(**dict(row)) for row in connection.execute(query, values)]

    def issue(self, serial: str) -> Issue:
        """One certificate by its serial number.

        Raises:
            BadInputError: no such certificate was issued here.
        """
        found = self.issues(serial=serial)
        if not found:
            raise BadInputError(
                f"no certificate with the serial number {serial!r} was issued here",
                mend="`lclstream certified list` shows all of them",
                where=str(self._path),
            )
        return found[0]


def insert(connection: sqlite3.Connection, issue: Issue) -> None:
    """Add an issue inside a transaction."""
    marks = ", ".join("?" for _ in _COLUMNS)
    connection.execute(
        f"INSERT INTO issues ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608 (own names)
        tuple(asdict(issue).values()),
    )


def find(connection: sqlite3.Connection, where: str, *values: str) -> list[Issue]:
    """The issues that fit a condition of ours, inside a transaction, oldest first."""
    query = f"SELECT {', '.join(_COLUMNS)} FROM issues WHERE {where} ORDER BY issued_at, rowid"  # noqa: S608 (own conditions)
    return [Issue(**dict(row)) for row in connection.execute(query, values)]


def mark_revoked(connection: sqlite3.Connection, serial: str, reason: str) -> None:
    """Note a revocation inside a transaction; an earlier one stays as it is."""
    connection.execute(
        "UPDATE issues SET revoked_at = ?, reason = ? WHERE serial = ? AND revoked_at IS NULL",
        (datetime.now(UTC).isoformat(), reason, serial),
    )


def next_number(connection: sqlite3.Connection, name: str) -> int:
    """Count a counter up by one, inside a transaction, and give its value."""
    row = connection.execute(
        "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 "
        "RETURNING value",
        (name,),
    ).fetchone()
    return int(row[0])
