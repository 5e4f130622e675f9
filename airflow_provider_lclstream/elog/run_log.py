"""What is known of each run, merged from messages that come twice, late and out of order.

Kafka keeps no order between partitions and delivers at least once. So a run's record only ever
grows: an end absorbs (a later "open" does not open the run again), any message about a run implies
its start, a file's locations add up. Merging any permutation and repetition of a run's messages
gives the same record.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from airflow_provider_lclstream.elog.models import RunEvent, RunEventKind

DEFAULT_INSTRUMENT_LETTERS = 3
"""LCLS names experiments after their instrument: ``mfxx00126`` was taken at MFX."""


@dataclass(frozen=True)
class RunRecord:
    """Everything that is known of one run.

    Attributes:
        oid: the Elog's ``_id``; empty while only files of the run were seen.
        end_time: when it was ended first (ending a run twice gives two times).
        params: every (name, value as text) that a watched parameter ever had.
        files: logical path → places where it is; an empty set means opened, not yet anywhere.
    """

    experiment: str
    run_number: int
    instrument: str
    oid: str = ""
    run_type: str = ""
    sample: str = ""
    begin_time: datetime | None = None
    end_time: datetime | None = None
    params: frozenset[tuple[str, str]] = frozenset()
    files: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        """Whether a message about the run itself came, not only about its files."""
        return bool(self.oid)

    @property
    def is_closed(self) -> bool:
        """Whether the run has ended."""
        return self.end_time is not None

    def first_file_at(self, location: str) -> bool:
        """Whether any data file of the run is at a place."""
        return any(location in places for places in self._data_files())

    def all_files_at(self, location: str) -> bool:
        """Whether the run has ended and every data file it registered is at a place.

        A run without files has none there, whatever the Elog's ``all_present`` says of it.
        """
        places = self._data_files()
        return self.is_closed and bool(places) and all(location in there for there in places)

    def _data_files(self) -> list[frozenset[str]]:
        return [places for path, places in self.files.items() if "/smalldata/" not in path]


def merge(record: RunRecord, event: RunEvent, watched: Collection[str] = ()) -> RunRecord:
    """The record with one more message in it; the order of messages does not matter.

    ``watched`` names the parameters whose values are kept (a run has hundreds).
    """
    if not event.run_oid:
        return replace(record, files=_merge_files(record, event))
    if event.run_oid < record.oid:
        return record  # an older run that had the same number; the Elog's ids grow with time
    if event.run_oid > record.oid:
        files = record.files if not record.oid else {}
        record = RunRecord(record.experiment, record.run_number, record.instrument, files=files)
    seen = {(name, str(event.params[name])) for name in watched if name in event.params}
    return replace(
        record,
        oid=event.run_oid,
        run_type=max(event.run_type, record.run_type),
        sample=max(event.sample, record.sample),
        begin_time=_earliest(record.begin_time, event.begin_time),
        end_time=_earliest(record.end_time, event.end_time),
        params=record.params | seen,
        files=_merge_files(record, event),
    )


def _merge_files(record: RunRecord, event: RunEvent) -> dict[str, frozenset[str]]:
    added = {
        path: record.files.get(path, frozenset()) | there for path, there in event.files.items()
    }
    return {**record.files, **added}


def _earliest(first: datetime | None, second: datetime | None) -> datetime | None:
    known = [moment for moment in (first, second) if moment is not None]
    return min(known) if known else None


class RunLog:
    """The records of the latest runs, bounded in number.

    Args:
        limit_runs: how many runs are remembered; the longest untouched is forgotten first.
        watched_params: the run parameters whose values are remembered.
    """

    def __init__(self, limit_runs: int = 5000, watched_params: Collection[str] = ()) -> None:
        self._watched_params = frozenset(watched_params)
        self._limit_runs = limit_runs
        self._records: OrderedDict[tuple[str, int], RunRecord] = OrderedDict()
        self._instruments: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._records)

    def instrument_of(self, experiment: str) -> str:
        """Where an experiment takes data: as last switched, else by its name's first letters."""
        by_name = experiment[:DEFAULT_INSTRUMENT_LETTERS].upper()
        return self._instruments.get(experiment, by_name)

    def preview(self, event: RunEvent) -> tuple[RunRecord, RunRecord]:
        """A run's record before and after a message, without remembering it."""
        key = (event.experiment, event.run_number)
        before = self._records.get(key) or RunRecord(*key, self.instrument_of(event.experiment))
        return before, merge(before, event, self._watched_params)

    def accept(self, record: RunRecord) -> None:
        """Remember a record. Done only once what follows from it is done, or it would be lost."""
        key = (record.experiment, record.run_number)
        self._records[key] = record
        self._records.move_to_end(key)
        while len(self._records) > self._limit_runs:
            self._records.popitem(last=False)

    def switch(self, event: RunEvent) -> None:
        """Remember which instrument an experiment was switched to."""
        if event.kind is RunEventKind.EXPERIMENT_SWITCH:
            self._instruments[event.experiment] = event.instrument
            while len(self._instruments) > self._limit_runs:
                self._instruments.pop(next(iter(self._instruments)))
