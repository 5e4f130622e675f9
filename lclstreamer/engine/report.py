"""What a rank tells at its end."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from lclstreamer.core.errors import LCLStreamError, OutputError

STOPPED_EXIT_CODE = 143
"""The exit code of a rank that was stopped by a signal and has delivered all it had read."""


@dataclass
class RankReport:
    """What became of one rank's events.

    Attributes:
        rank: of which rank.
        size: how many ranks there were.
        role: ``events``, or ``psana`` for a rank that only served the others.
        run: what was read.
        state: ``completed``; ``stopped`` by a signal, all that was read is delivered; ``failed``.
        messages: messages made.
        bytes: their payload.
        events: events in these messages.
        events_read: events that the source gave.
        skipped_events: left out because something required was missing.
        filled_events: sent with something missing filled in.
        missing: how often each data source was missing.
        failures: how often each data source raised an error, by kind.
        confirmed_messages: messages whose arrival every handler proved; None where a peer cannot.
        problems: what went wrong, one sentence each; empty when everything arrived.
        handlers: what each handler reported.
        exit_code: of the process.
        first_event_unix: when the first event was read, in seconds since 1970.
        last_event_unix: when the last one was.
        seconds: from the first line of the engine to the last.
    """

    rank: int
    size: int
    role: Literal["events", "psana"] = "events"
    run: str = ""
    state: Literal["completed", "stopped", "failed"] = "failed"
    messages: int = 0
    bytes: int = 0
    events: int = 0
    events_read: int = 0
    skipped_events: int = 0
    filled_events: int = 0
    missing: dict[str, int] = field(default_factory=dict[str, int])
    failures: dict[str, int] = field(default_factory=dict[str, int])
    confirmed_messages: int | None = None
    problems: list[str] = field(default_factory=list[str])
    handlers: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    exit_code: int = 70
    first_event_unix: float | None = None
    last_event_unix: float | None = None
    seconds: float = 0.0

    def fail(self, error: LCLStreamError) -> None:
        """Note the error that ended the rank."""
        self.state, self.exit_code = "failed", error.exit_code
        self.problems.append(str(error))

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object, with the process's number."""
        return {**asdict(self), "pid": os.getpid()}

    def write(self, folder: Path) -> None:
        """Write ``report.r<rank>.json``, complete or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        path = folder / f"report.r{self.rank:04d}.json"
        partial = path.with_name(f".{path.name}.part")
        with writing_to(folder):
            partial.write_text(json.dumps(self.to_json()) + "\n", encoding="utf-8")
            partial.replace(path)


@contextlib.contextmanager
def writing_to(folder: Path) -> Generator[None]:
    """Make a folder for reports if need be; say what to do where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OutputError(
            f"the report cannot be written: {error.strerror}",
            where=str(folder),
            mend="give --report a folder that can be written",
        ) from error


def prove_writable(folder: Path) -> None:
    """Find out before hours of streaming that reports cannot be written.

    Raises:
        OutputError: they cannot.
    """
    with writing_to(folder), tempfile.NamedTemporaryFile(dir=folder, prefix=".lclstreamer-probe-"):
        pass
