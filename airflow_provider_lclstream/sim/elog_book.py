"""The pages of the minimal Elog: experiments, runs and files, and the messages they give rise to.

No network here. Every change returns the messages it publishes, in the very form of the real
Elog, warts included: naive dates of new files, an implicit end of an unclosed run, a second end
with another time, escaped dots in parameter names.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from lclstreamer.core.errors import BadInputError

Document = dict[str, Any]


class Published(NamedTuple):
    """One Kafka message: its topic and its envelope."""

    topic: str
    envelope: Document


class NoSuchPageError(BadInputError):
    """The logbook has no such experiment or run."""

    title = "not in the logbook"


@dataclass
class _Experiment:
    name: str
    instrument: str
    runs: dict[int, Document] = field(default_factory=dict)
    files: dict[int, list[Document]] = field(default_factory=dict)

    @property
    def latest(self) -> Document | None:
        return self.runs[max(self.runs)] if self.runs else None


class ElogBook:
    """A logbook in memory; safe to use from several threads."""

    def __init__(self) -> None:
        self._experiments: dict[str, _Experiment] = {}
        self._active: dict[str, str] = {}
        self._lock = threading.Lock()
        self._ids = _object_ids()

    def register_experiment(self, name: str, instrument: str) -> None:
        """Open a logbook; nothing is published (experiments are made long before the beam)."""
        with self._lock:
            self._experiments.setdefault(name, _Experiment(name, instrument.upper()))

    def switch_experiment(self, instrument: str, name: str) -> list[Published]:
        """Make an experiment the active one of its instrument."""
        with self._lock:
            self._experiment(name)
            self._active[instrument.upper()] = name
        value = {
            "instrument": instrument.upper(),
            "station": 0,
            "experiment_name": name,
            "userid": "daqopr",
        }
        return [Published("experiment_switch", {"experiment_name": name, "value": value})]

    def active_experiment(self, instrument: str) -> Document:
        """The active experiment of an instrument."""
        with self._lock:
            name = self._active.get(instrument.upper())
            if name is None:
                raise NoSuchPageError(
                    f"no experiment is active at {instrument}", mend="switch to one first"
                )
            return {"_id": name, "name": name, "instrument": instrument.upper()}

    def start_run(
        self, experiment: str, *, run_type: str = "DATA", run_number: int | None = None
    ) -> tuple[Document, list[Published]]:
        """Begin a run; one that is still open is ended first, as the real Elog does."""
        with self._lock:
            book = self._experiment(experiment)
            published = self._end(book) if book.latest and not book.latest["end_time"] else []
            number = run_number or max(book.runs, default=0) + 1
            if number in book.runs:
                raise BadInputError(
                    f"{experiment} has a run {number} already", mend="leave run_num out"
                )
            run: Document = {
                "_id": next(self._ids),
                "num": number,
                "type": run_type,
                "begin_time": _now(),
                "end_time": None,
                "params": {},
                "editable_params": {},
            }
            book.runs[number] = run
            return run, [*published, _message("runs", experiment, "Create", run)]

    def add_run_params(
        self, experiment: str, params: Mapping[str, Any], run_number: int | None = None
    ) -> tuple[Document, list[Published]]:
        """Add parameters to a run, the current one unless its number is given."""
        with self._lock:
            run = self._run(experiment, run_number)
            escaped = {
                key.replace(".", "\uff0e").replace("$", "\uff04"): value
                for key, value in params.items()
            }
            run["params"] = {**run["params"], **escaped}
            return run, [_message("runs", experiment, "Update", run)]

    def end_run(self, experiment: str) -> tuple[Document, list[Published]]:
        """End the current run. Ending it twice gives a second message with another time."""
        with self._lock:
            book = self._experiment(experiment)
            published = self._end(book)
            return self._run(experiment, None), published

    def register_file(
        self, experiment: str, run_number: int, path: str, absolute_path: str
    ) -> tuple[Document, list[Published]]:
        """Note that the data-taking system opened a file."""
        with self._lock:
            book = self._experiment(experiment)
            moment = datetime.now(UTC).replace(microsecond=1, tzinfo=None).isoformat()
            document: Document = {
                "_id": next(self._ids),
                "path": path,
                "absolute_path": absolute_path,
                "create_timestamp": moment,
                "modify_timestamp": moment,
                "hostname": "drp-srcf-cmp010",
                "gen": 2,
                "run_num": run_number,
            }
            book.files.setdefault(run_number, []).append(document)
            return document, [_message("file_catalog", experiment, "Create", document)]

    def current_run(self, experiment: str) -> Document:
        """The run that was started last."""
        with self._lock:
            return self._run(experiment, None)

    def run(self, experiment: str, run_number: int) -> Document:
        """One run."""
        with self._lock:
            return self._run(experiment, run_number)

    def runs(self, experiment: str) -> list[Document]:
        """All runs, the latest first."""
        with self._lock:
            book = self._experiment(experiment)
            return [book.runs[number] for number in sorted(book.runs, reverse=True)]

    def files(self, experiment: str, run_number: int) -> list[Document]:
        """The files of a run."""
        with self._lock:
            return list(self._experiment(experiment).files.get(run_number, []))

    def _end(self, book: _Experiment) -> list[Published]:
        run = self._run(book.name, None)
        run["end_time"] = _now()
        length = datetime.fromisoformat(run["end_time"]) - datetime.fromisoformat(run["begin_time"])
        extra = {
            "duration": length.total_seconds(),
            "file_catalog": list(book.files.get(run["num"], [])),
        }
        return [_message("runs", book.name, "Update", {**run, **extra})]

    def _experiment(self, name: str) -> _Experiment:
        try:
            return self._experiments[name]
        except KeyError:
            raise NoSuchPageError(
                f"there is no experiment {name!r}", mend="register it first"
            ) from None

    def _run(self, experiment: str, number: int | None) -> Document:
        book = self._experiment(experiment)
        run = book.latest if number is None else book.runs.get(number)
        if run is None:
            raise NoSuchPageError(
                f"{experiment} has no run {number if number is not None else ''}".rstrip(),
                mend="start one first",
            )
        return run


def _message(topic: str, experiment: str, crud: str, document: Document) -> Published:
    envelope = {"experiment_name": experiment, "CRUD": crud, "value": dict(document)}
    return Published(topic, envelope)


def _now() -> str:
    """A database date: milliseconds, with its offset; no fraction at all where it is 0."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000).isoformat()


def _object_ids() -> itertools.chain[str]:
    """Identities as MongoDB makes them: seconds, a random part, a count."""
    middle = secrets.token_hex(5)
    return itertools.chain.from_iterable(
        [f"{int(time.time()):08x}{middle}{count % 2**24:06x}"] for count in itertools.count(1)
    )
