"""One job: its folder, its history, and what can be done with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_provider_lclstream.psik.backends.base import Attempt, Backend, Observation
from airflow_provider_lclstream.psik.callbacks.start import ensure_courier, watch
from airflow_provider_lclstream.psik.handover import Handover
from airflow_provider_lclstream.psik.layout import JobFolder, read_json
from airflow_provider_lclstream.psik.models import JobSpec, JobState, Transition
from airflow_provider_lclstream.psik.notes import about_of, keep_remark, note, remark_of
from airflow_provider_lclstream.psik.state_log import StateLog, last_row
from airflow_provider_lclstream.psik.states import TransitionRefusedError
from lclstreamer.core.errors import BadInputError

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.store import JobStore


class JobNotFoundError(BadInputError):
    """There is no job, log or file of this name."""

    title = "not found"


class Job:
    """A job folder, and the store it belongs to."""

    def __init__(self, folder: JobFolder, store: JobStore) -> None:
        self._folder, self._store = folder, store
        self._state_log = StateLog(folder.status)
        self._spec: JobSpec | None = None

    def __repr__(self) -> str:
        return f"Job({self.jobid!r})"

    @property
    def jobid(self) -> str:
        """Its id, which is its folder's name."""
        return self._folder.jobid

    @property
    def store(self) -> JobStore:
        """The store it belongs to."""
        return self._store

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self._folder.path

    @property
    def work(self) -> Path:
        """Where its script runs."""
        directory = self.spec.directory
        return Path(directory) if directory else self._folder.work

    @property
    def spec(self) -> JobSpec:
        """Its specification, without the callback's secret.

        Raises:
            JobNotFoundError: its folder is gone.
            BadInputError: its specification is damaged, or of a version that is not known here.
        """
        if self._spec is None:
            document = read_json(self._folder.spec)
            if document is None and not self._folder.spec.exists():
                raise _not_found(self.jobid)
            try:
                self._spec = JobSpec.model_validate(document)
            except ValidationError as error:
                raise _damaged(self._folder.spec, error) from error
        return self._spec

    @property
    def about(self) -> dict[str, Any]:
        """Facts beside the spec: owner and idempotency key, where given."""
        return about_of(self._folder)

    def secret(self) -> str | None:
        """The key that signs its callbacks, or None."""
        try:
            return self._folder.secret.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def history(self) -> list[Transition]:
        """Every state it reached, oldest first."""
        return self._state_log.read()

    def last(self) -> Transition:
        """The newest row of its history.

        Raises:
            JobNotFoundError: its folder is gone.
        """
        last = self._state_log.last()
        if last is None:
            raise _not_found(self.jobid)
        return last

    @contextlib.contextmanager
    def settled(self) -> Generator[Transition]:
        """Yield the newest row, and let no other follow while the block runs."""
        with self._state_log.locked() as handle:
            last = last_row(handle)
            if last is None:
                raise _not_found(self.jobid)
            yield last

    def state(self) -> JobState:
        """The state as last recorded; `reconcile` asks the backend first."""
        return self.last().state

    def submit(self) -> JobState:
        """Queue its first attempt. A second call changes nothing.

        Raises:
            LCLStreamError: the backend refused it for good; it is ``failed`` and says so.
        """
        last = self.last()
        if last.state is JobState.new:
            self._queue(last)
        return self.state()

    def start(self) -> JobState:
        """Queue another attempt of a job that has ended, or the first of a new one.

        Raises:
            TransitionRefusedError: it is queued or active.
        """
        self._queue(self.last())
        return self.state()

    def cancel(self, reason: str = "canceled") -> JobState:
        """Cancel it and return its present state: ``canceled`` once none of its processes run.

        A job that has ended stays as it ended.
        """
        last = self.last()
        if last.state is JobState.new:
            with contextlib.suppress(TransitionRefusedError):
                self._state_log.append(0, JobState.canceled, reason)
                self._watch_callbacks()
            last = self.last()
        if last.state.is_final or last.state is JobState.new:
            return last.state
        handover = Handover(self._attempt(last), self.backend)
        handover.request_cancel(reason)
        handover.cancel()
        return self.reconcile()

    def reconcile(self) -> JobState:
        """Bring the record up to date with what the backend knows; returns the true state."""
        from airflow_provider_lclstream.psik.reconciler import reconcile

        reconcile([self])
        return self.state()

    def log_names(self) -> list[str]:
        """The names of its logs: ``console``, ``stdout.1``, ``stderr.1`` and so on."""
        return list(self.log_sizes())

    def log_sizes(self) -> dict[str, int]:
        """The lengths of its logs in bytes, by name, in the order of their names."""
        sizes: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder.logs) as entries:
            for entry in entries:
                # A link that a script has put there leads to what is not this job's.
                if entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):  # its script removed it just now
                        sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
        return dict(sorted(sizes.items()))

    def log(self, name: str) -> str:
        """The text of one log; bytes that are no UTF-8 appear as replacement characters."""
        return self.read_log(name, 0, None).decode("utf-8", "replace")

    def read_log(self, name: str, offset: int, limit_bytes: int | None) -> bytes:
        """A piece of a log, from a byte offset on; a negative one counts from the end.

        Raises:
            JobNotFoundError: there is no log of this name.
        """
        if name not in self.log_names():
            raise JobNotFoundError(
                f"job {self.jobid} has no log {name!r}",
                mend=f"its logs are {', '.join(self.log_names()) or 'none yet'}",
            )
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(self._folder.logs / name, flags), "rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size + offset) if offset < 0 else min(offset, size))
            return stream.read(-1 if limit_bytes is None else limit_bytes)

    def result(self, jobndx: int | None = None) -> dict[str, Any] | None:
        """How an attempt's script ended: exit code, signal, resource usage; None until it has."""
        return read_json(self._folder.result(self.last().jobndx if jobndx is None else jobndx))

    @property
    def backend(self) -> Backend:
        """The backend it runs on."""
        return self._store.backend_of(self)

    def pending_attempt(self) -> Attempt | None:
        """Its present attempt, or None where it has none or that has ended."""
        last = self.last()
        is_pending = last.state in {JobState.queued, JobState.active}
        return self._attempt(last) if is_pending else None

    def apply(self, attempt: Attempt, seen: Observation) -> bool:
        """Record what a backend observed; False if it was known, or is out of date by now."""
        last: Transition | None = attempt.last
        if seen.state is attempt.last.state:
            keep_remark(self._folder, attempt.jobndx, seen.info)
            return False
        has_run = seen.has_run or seen.state is JobState.completed
        if seen.state.is_final and has_run and attempt.last.state is JobState.queued:
            last = self._state_log.append(attempt.jobndx, JobState.active, at=seen.at, after=last)
            if last is None:
                return False
        row = self._state_log.append(attempt.jobndx, seen.state, seen.info, at=seen.at, after=last)
        return row is not None

    def remark(self) -> str:
        """What the backend last said of the present attempt without its state changing."""
        return remark_of(self._folder, self.last())

    def catch_up(self, attempt: Attempt) -> None:
        """Send the backend what has not reached it yet: a queued attempt, or a cancel.

        Raises:
            LCLStreamError: it refuses for good, or cannot be reached now.
        """
        if attempt.last.state is JobState.queued and attempt.native_id is None:
            self.hand_over(attempt)
        else:
            Handover(attempt, self.backend).catch_up()

    def hand_over(self, attempt: Attempt) -> None:
        """Give a queued attempt to its backend; see `Handover.offer`."""
        self._watch_callbacks()
        Handover(attempt, self.backend).offer()

    def note(self, text: str) -> None:
        """Append a line to the job's own log, ``console``, if it can be written."""
        note(self._folder, text)

    def _queue(self, last: Transition) -> None:
        # Of several callers at once, only the one whose row is written hands the attempt over.
        row = self._state_log.append(last.jobndx + 1, JobState.queued, after=last)
        if row is not None:
            self.hand_over(self._attempt(row))

    def _watch_callbacks(self) -> None:
        if self.spec.callback is not None:
            watch(self._folder.prefix, self.jobid)
            ensure_courier(self._folder.prefix, self._store.backends)

    def _attempt(self, last: Transition) -> Attempt:
        return Attempt(self._folder, last.jobndx, self.spec, last)


def _damaged(path: Path, error: ValidationError) -> BadInputError:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    said = f"{place}: {first['msg'].lower()}" if place else "it is no JobSpec"
    return BadInputError(
        f"the job's specification cannot be read: {said}",
        where=str(path),
        mend="mend it, or delete the job's folder if another program or version made it",
    )


def _not_found(jobid: str) -> JobNotFoundError:
    return JobNotFoundError(f"there is no job {jobid}", mend="`lclstream psik ls` lists the jobs")
