"""Backends are asked side by side; one that hangs delays nobody else's jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from airflow_provider_lclstream.psik.backends.base import Attempt, Observation
from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, JobState
from airflow_provider_lclstream.psik.reconciler import Reconciler, reconcile
from airflow_provider_lclstream.psik.store import JobStore


class Scheduler:
    """A backend whose jobs are active; it answers while ``is_well`` is set."""

    def __init__(self) -> None:
        self.is_well = threading.Event()
        self.is_well.set()
        self.asked = 0
        self.error: Exception | None = None

    def check(self, spec: JobSpec) -> None:
        """Every job will do."""

    def submit(self, attempt: Attempt) -> str:
        """Take it."""
        return attempt.job.jobid

    def find(self, attempt: Attempt) -> str | None:
        """It is there."""
        return attempt.job.jobid

    def cancel(self, attempt: Attempt) -> None:
        """Nothing ends here."""

    def observe(self, attempts: Sequence[Attempt]) -> Mapping[str, Observation]:
        """All are active."""
        self.asked += 1
        assert self.is_well.wait(30)
        if self.error is not None:
            raise self.error
        return {one.job.jobid: Observation(JobState.active, "") for one in attempts}


@pytest.fixture
def schedulers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Scheduler]]:
    """The backends ``quick`` and ``slow``."""
    made = {"quick": Scheduler(), "slow": Scheduler()}

    def backend(_store: JobStore, name: str) -> Scheduler:
        return made[name]

    monkeypatch.setattr(JobStore, "backend", backend)
    yield made
    made["slow"].is_well.set()


@pytest.fixture
def jobs(tmp_path: Path, schedulers: dict[str, Scheduler]) -> dict[str, Job]:
    """A queued job on each."""
    store = JobStore(tmp_path / "jobs", {name: BackendConfig() for name in schedulers})
    found = {name: store.create(JobSpec(script="true", backend=name)) for name in schedulers}
    for job in found.values():
        job.submit()
    for one in schedulers.values():
        one.asked = 0
    return found


def test_a_slow_backend_is_left_behind_and_not_asked_twice(
    jobs: dict[str, Job], schedulers: dict[str, Scheduler]
) -> None:
    slow = schedulers["slow"]
    slow.is_well.clear()
    reconciler = Reconciler(patience_seconds=0.2)
    began = time.monotonic()
    first = reconciler.round(jobs.values())
    assert time.monotonic() - began < 5
    assert (jobs["quick"].state(), jobs["slow"].state()) == ("active", "queued")
    assert (first.asked, first.changed, first.problems) == (1, 1, [])
    second = reconciler.round(jobs.values())
    assert "backend 'slow' has been asked about 1 of its jobs for" in second.problems[0]
    assert (schedulers["quick"].asked, slow.asked) == (2, 1)
    slow.is_well.set()
    changed, deadline = 0, time.monotonic() + 20
    while not changed and time.monotonic() < deadline:
        changed += reconciler.round(jobs.values()).changed
    assert (changed, jobs["slow"].state()) == (1, "active")
    assert reconciler.round(jobs.values()).problems == []


def test_on_demand_everybody_is_waited_for(
    jobs: dict[str, Job], schedulers: dict[str, Scheduler]
) -> None:
    schedulers["slow"].is_well.clear()
    threading.Timer(0.5, schedulers["slow"].is_well.set).start()
    found = reconcile(jobs.values())
    assert {job.state() for job in jobs.values()} == {JobState.active}
    assert (found.asked, found.changed) == (2, 2)


def test_a_mistake_of_ours_is_raised_and_the_next_round_goes_on(
    jobs: dict[str, Job], schedulers: dict[str, Scheduler]
) -> None:
    schedulers["slow"].error = ZeroDivisionError("a mistake")
    reconciler = Reconciler(patience_seconds=5)
    with pytest.raises(ZeroDivisionError):
        reconciler.round(jobs.values())
    schedulers["slow"].error = None
    assert reconciler.round(jobs.values()).problems == []
    assert {job.state() for job in jobs.values()} == {JobState.active}
