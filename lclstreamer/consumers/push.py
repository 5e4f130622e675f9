"""Put files into a stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.events import DeliveryReport
from lclstreamer.transport.connect import PushSocket


def push_files(
    stream: PushSocket,
    files: Sequence[Path],
    *,
    send_timeout_seconds: float = 600.0,
    close_timeout_seconds: float = 600.0,
) -> DeliveryReport:
    """Send each file as one message, tell the end, and wait until everything has arrived.

    Raises:
        BadInputError: a file cannot be read; what was sent before it is still delivered.
        UnavailableError: nobody took a message in time.
        IncompleteStreamError: the other side has gone.
    """
    sent = 0
    try:
        for path in files:
            stream.send(_content(path), timeout_seconds=send_timeout_seconds)
            sent += 1
    finally:
        missing = [f"{len(files) - sent} of {len(files)} files"] if sent < len(files) else []
        report = stream.close(close_timeout_seconds, missing=missing)
    return report


def check_files(files: Sequence[Path]) -> None:
    """Find out before anything is sent whether every file can be read.

    Raises:
        BadInputError: the first that cannot.
    """
    for path in files:
        try:
            with path.open("rb"):
                continue
        except OSError as error:
            raise _unreadable(path, error) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(
        f"cannot read {path}: {error.strerror or error}", mend="give files that can be read"
    )
