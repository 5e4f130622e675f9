"""The state log ``status.csv``: append-only, one writer at a time, on disk before it is announced.

Each row is ``time,jobndx,state,info`` and a newline; ``info`` may hold commas but no line break.
A writer holds an exclusive lock while it reads the present state, asks the table, appends one row
and flushes it to the disk. A row without its newline is one whose writer died: readers pass over
it and the next writer takes it away.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from airflow_provider_lclstream.psik.states import JobState, Transition, is_news
from lclstreamer.core.errors import BadInputError, OutputError, TemporaryError

LOCK_TIMEOUT_SECONDS = 30.0
INFO_LIMIT_BYTES = 4000
"""Longest ``info`` of a row; the rest of a longer text is cut."""
_TAIL_BYTES = INFO_LIMIT_BYTES + 256


class StateLog:
    """One job's ``status.csv``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Transition]:
        """The whole history, oldest first."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return list(_rows(text))

    def last(self) -> Transition | None:
        """The newest row; reads only the end of the file."""
        try:
            with self.path.open("rb") as stream:
                return last_row(stream.fileno())
        except FileNotFoundError:
            return None

    def append(
        self,
        jobndx: int,
        state: JobState,
        info: str = "",
        *,
        at: float | None = None,
        after: Transition | None = None,
    ) -> Transition | None:
        """Record that an attempt reached a state, and flush it to the disk.

        Args:
            jobndx: the attempt.
            state: the state it reached.
            info: why, or what else is to be said; one line.
            at: when, in seconds since 1970; by default now.
            after: append only if this is still the newest row.

        Returns:
            The row, or None where this very state stands there already, or something else was
            recorded since ``after``.

        Raises:
            TransitionRefusedError: the state cannot follow the present one.
            OutputError: the row cannot be written; the file is as before.
        """
        with self.locked() as handle:
            last = last_row(handle)
            if after is not None and last != after:
                return None
            if not is_news(last, jobndx, state):
                return None
            moment = time.time() if at is None else at
            if last is not None:
                # A clock that was set back must not make the history run backwards.
                moment = max(moment, last.time)
            row = Transition(moment, jobndx, state, _one_line(info))
            _write_row(handle, row, self.path)
        return row

    @contextlib.contextmanager
    def locked(self, timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Generator[int]:
        """Hold the writer's lock; yields the file's descriptor.

        Raises:
            TemporaryError: another writer kept the lock for longer than the timeout.
        """
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError as error:
            raise _gone(self.path) from error
        except OSError as error:
            raise _cannot_write(error, self.path) from error
        try:
            lock(handle, timeout_seconds, self.path)
            if not _is_at(handle, self.path):
                raise _gone(self.path)  # the job was removed while its lock was waited for
            yield handle
        finally:
            os.close(handle)


def lock(handle: int, timeout_seconds: float, path: Path) -> None:
    """Take an exclusive lock on an open file, waiting no longer than the timeout.

    Raises:
        TemporaryError: another process held it all that time.
    """
    deadline, pause = time.monotonic() + timeout_seconds, 0.0005
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES, errno.EINTR}:
                raise
        if time.monotonic() >= deadline:
            raise TemporaryError(
                f"the lock was not free within {timeout_seconds:g} s",
                where=str(path),
                mend="try again; if it stays locked, look for a process stopped while writing",
            )
        time.sleep(pause)
        pause = min(pause * 2, 0.02)


@contextlib.contextmanager
def holding(path: Path, timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Generator[None]:
    """Lock a file of its own for as long as the block runs.

    Raises:
        TemporaryError: another process held it for longer than the timeout.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        lock(handle, timeout_seconds, path)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def try_lock(path: Path) -> Generator[bool]:
    """Lock a file of its own while the block runs. Yields False if it is locked already."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def last_row(handle: int) -> Transition | None:
    """The newest row of an open state log; reads only its end."""
    size = os.fstat(handle).st_size
    # The first row carries the backend's settings and may be longer than any other.
    for start in sorted({max(0, size - _TAIL_BYTES), 0}, reverse=True):
        lines = os.pread(handle, size - start, start).split(b"\n")[:-1]
        for line in reversed(lines):
            row = parse_row(line.decode("utf-8", "replace"))
            if row is not None:
                return row
    return None


def parse_row(line: str) -> Transition | None:
    """Read one row, or None where it is none."""
    fields = line.strip().split(",", 3)
    if len(fields) < 3:
        return None
    try:
        info = fields[3] if len(fields) == 4 else ""
        return Transition(float(fields[0]), int(fields[1]), JobState(fields[2]), info)
    except ValueError:
        return None


def _rows(text: bytes) -> Iterator[Transition]:
    for line in text.split(b"\n")[:-1]:
        row = parse_row(line.decode("utf-8", "replace"))
        if row is not None:
            yield row


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _gone(path: Path) -> BadInputError:
    return BadInputError(
        "this job's folder is gone", where=str(path.parent), mend="list the jobs again"
    )


def _write_row(handle: int, row: Transition, path: Path) -> None:
    size = _cut_torn_row(handle)
    line = f"{row.time:.6f},{row.jobndx},{row.state},{row.info}\n".encode()
    try:
        written = os.write(handle, line)
        os.fsync(handle)
    except OSError as error:
        os.ftruncate(handle, size)
        raise _cannot_write(error, path) from error
    if written != len(line):
        os.ftruncate(handle, size)
        raise _cannot_write(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), path)


def _cut_torn_row(handle: int) -> int:
    size = os.fstat(handle).st_size
    start = max(0, size - _TAIL_BYTES)
    tail = os.pread(handle, size - start, start)
    if tail and not tail.endswith(b"\n"):
        size = start + tail.rfind(b"\n") + 1
        os.ftruncate(handle, size)
    return size


def _one_line(text: str) -> str:
    # One line of plain text: a reason may come from anybody, and is shown in terminals.
    plain = "".join(c if c.isprintable() else " " for c in text)
    line = text.strip() if plain == text else " ".join(plain.split())
    raw = line.encode("utf-8", "replace")
    if len(raw) <= INFO_LIMIT_BYTES:
        return raw.decode()
    return raw[: INFO_LIMIT_BYTES - 3].decode("utf-8", "ignore") + "…"


def _cannot_write(error: OSError, path: Path) -> OutputError:
    return OutputError(
        f"a state cannot be recorded: {error.strerror}",
        where=str(path),
        mend="make room or mend the permissions of the job folder",
    )
