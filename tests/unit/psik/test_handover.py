"""An attempt on its way to its backend, while others ask that it ends."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import pytest

from airflow_provider_lclstream.psik.backends.base import Attempt, Backend, Observation
from airflow_provider_lclstream.psik.handover import Handover
from airflow_provider_lclstream.psik.layout import JobFolder
from airflow_provider_lclstream.psik.models import JobSpec, JobState
from airflow_provider_lclstream.psik.state_log import StateLog, try_lock
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import BadInputError, UnavailableError


class GoesAway:
    """A backend that takes a job while it is canceled, and then is away for a while."""

    def __init__(self) -> None:
        self.is_asked_to_take, self.is_asked_to_cancel = threading.Event(), threading.Event()
        self.has_taken = threading.Event()
        self.is_away, self.canceled = True, list[str]()

    def submit(self, attempt: Attempt) -> str:
        """Take it; meanwhile somebody cancels."""
        self.is_asked_to_take.set()
        assert self.is_asked_to_cancel.wait(20)
        return "7"

    def find(self, attempt: Attempt) -> str | None:
        """It is not there."""
        return None

    def cancel(self, attempt: Attempt) -> None:
        """End what is there by now."""
        known = attempt.native_id
        if known is None:
            self.is_asked_to_cancel.set()
            assert self.has_taken.wait(20)
        elif self.is_away:
            raise UnavailableError("away", mend="wait")
        else:
            self.canceled.append(known)

    def observe(self, _: Sequence[Attempt]) -> Mapping[str, Observation]:
        """It runs."""
        return {}


def _queued(store: JobStore) -> Attempt:
    job = store.create(JobSpec(script=":"))
    row = StateLog(job.folder / "status.csv").append(1, JobState.queued)
    assert row is not None
    return Attempt(JobFolder(job.folder), 1, job.spec, row)


def test_a_cancel_that_came_while_the_job_was_handed_over_is_not_taken_for_told(
    tmp_path: Path,
) -> None:
    backend = GoesAway()
    handover = Handover(_queued(JobStore(tmp_path / "jobs")), cast("Backend", cast("Any", backend)))

    def offer() -> None:
        with pytest.raises(UnavailableError):
            handover.offer()  # the job is taken, its cancel is not
        backend.has_taken.set()

    with ThreadPoolExecutor(1) as pool:
        offering = pool.submit(offer)
        assert backend.is_asked_to_take.wait(20)
        handover.request_cancel("not wanted")
        handover.cancel()
        offering.result(20)
    backend.is_away = False
    handover.catch_up()  # by the reconciler
    assert backend.canceled == ["7"]


class LosesAnswers(GoesAway):
    """A backend that takes each job, but whose first answer is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = list[str]()

    def submit(self, attempt: Attempt) -> str:
        """Take it."""
        self.taken.append(attempt.job.jobid)
        if len(self.taken) == 1:
            raise UnavailableError("no answer", mend="wait")
        return "8"

    def find(self, attempt: Attempt) -> str | None:
        """Look for it."""
        return "7" if attempt.job.jobid in self.taken else None


def test_a_job_that_another_submits_in_between_is_looked_for_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LosesAnswers()
    attempt = _queued(JobStore(tmp_path / "jobs"))
    handover = Handover(attempt, cast("Backend", cast("Any", backend)))

    def when_another_has_tried(path: Path) -> AbstractContextManager[bool]:
        monkeypatch.undo()
        handover.offer()
        return try_lock(path)

    monkeypatch.setattr("airflow_provider_lclstream.psik.handover.try_lock", when_another_has_tried)
    handover.offer()
    assert backend.taken == [attempt.job.jobid]
    assert attempt.native_id == "7"


class RefusesOnce(GoesAway):
    """A backend that refuses a job for good, and would take the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def submit(self, attempt: Attempt) -> str:
        """Refuse the first."""
        self.asked += 1
        if self.asked == 1:
            raise BadInputError("no such account", mend="name another")
        return "9"


def test_a_job_that_was_refused_since_it_was_looked_at_is_not_submitted(tmp_path: Path) -> None:
    backend = RefusesOnce()
    attempt = _queued(JobStore(tmp_path / "jobs"))
    handover = Handover(attempt, cast("Backend", cast("Any", backend)))
    with pytest.raises(BadInputError):
        handover.offer()  # by its submitter
    handover.offer()  # by a reconciler, whose round began before
    assert backend.asked == 1
    assert attempt.native_id is None
