"""The trigger that waits for a job: real jobs, in a folder and on a service."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from types import SimpleNamespace

import pytest

from airflow_provider_lclstream.psik.access.folder import FolderAccess
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import TemporaryError


@pytest.fixture
def start(place):
    """Start a job from a script; gives it. What is left is canceled at the end."""
    store, jobs = JobStore(place.prefix, {"local": BackendConfig()}), []

    def run(script):
        job = store.create(JobSpec(script=script, backend="local"), owner="airflow")
        job.submit()
        jobs.append(job)
        return job

    yield run
    for job in jobs:
        job.cancel()


@pytest.fixture
def make(place):
    """Make the trigger, by way of its serialised form, as the triggerer does."""
    from airflow._shared.module_loading import import_string

    from airflow_provider_lclstream.triggers.psik import PsikJobTrigger

    def trigger(jobid, **kwargs):
        kwargs = {"deadline_unix": time.time() + 60, "poll_interval": 0.05, **kwargs}
        path, arguments = PsikJobTrigger(
            jobid=jobid, psik_conn_id=place.conn_id, **kwargs
        ).serialize()
        return import_string(path)(**json.loads(json.dumps(arguments)))

    return trigger


def fire(trigger, timeout_seconds=20):
    """Run a trigger until it fires; gives the event's payload."""

    async def first():
        events = [event.payload async for event in trigger.run()]
        assert len(events) == 1
        return events[0]

    return asyncio.run(asyncio.wait_for(first(), timeout_seconds))


@pytest.mark.parametrize(
    ("script", "state", "reason"),
    [
        ("true", "completed", "exit code 0"),
        ("exit 3", "failed", "exit code 3"),
        ("kill $$", "failed", "signal 15 (SIGTERM)"),
    ],
)
def test_it_fires_when_the_job_has_ended(start, make, script, state, reason):
    job = start(f"sleep 0.2\n{script}\n")
    assert fire(make(job.jobid)) == {
        "status": "final", "jobid": job.jobid, "state": state,
        "message": f"job {job.jobid} is {state}: {reason}",
    }  # fmt: skip


@pytest.mark.parametrize(("script", "ends"), [("true", True), ("exit 3", False)])
def test_it_ends_the_task_itself_when_asked_to_and_all_is_well(start, make, script, ends):
    from airflow.triggers.base import TaskSuccessEvent

    async def first(trigger):
        return [event async for event in trigger.run()]

    (event,) = asyncio.run(first(make(start(f"{script}\n").jobid, ends_task=True)))
    assert isinstance(event, TaskSuccessEvent) is ends


def test_it_stays_deferred_until_airflow_has_noticed(start, make, monkeypatch):
    monkeypatch.setenv("AIRFLOW__LCLSTREAM__LEAST_DEFERRAL", "1.5")
    job, begun = start("true\n"), time.monotonic()
    assert fire(make(job.jobid))["status"] == "final"
    assert time.monotonic() - begun >= 1.5


def test_a_mistaken_option_reaches_the_task(start, make, monkeypatch):
    monkeypatch.setenv("AIRFLOW__LCLSTREAM__LEAST_DEFERRAL", "soon")
    event = fire(make(start("true\n").jobid))
    assert (event["status"], "least_deferral" in event["message"]) == ("error", True)


def test_what_ends_the_task_itself_need_not_wait(start, make, monkeypatch):
    monkeypatch.setenv("AIRFLOW__LCLSTREAM__LEAST_DEFERRAL", "600")
    assert fire(make(start("true\n").jobid, ends_task=True)) == "success"


def test_a_canceled_job_leaves_time_to_remove_its_trigger(start, make, monkeypatch):
    """Its task was ended or cleared: the next try must not be woken by what this one saw."""
    monkeypatch.setenv("AIRFLOW__LCLSTREAM__LEAST_DEFERRAL", "1.5")
    job, canceled = start("exec sleep 600\n"), []

    def cancel():
        canceled.append(time.monotonic())
        job.cancel()

    threading.Timer(2, cancel).start()
    assert fire(make(job.jobid))["state"] == "canceled"
    assert time.monotonic() - canceled[0] >= 1.5


def test_it_fires_when_a_service_is_ready(start, make):
    job = start("sleep 0.2\necho {} > ready.json\nexec sleep 600\n")
    assert fire(make(job.jobid, ready_file="ready.json"))["status"] == "ready"
    assert job.reconcile() == "active"


def test_it_fires_at_its_deadline(start, make):
    job = start("exec sleep 600\n")
    assert fire(make(job.jobid, deadline_unix=time.time() + 0.3))["status"] == "timeout"


def test_it_fires_when_the_job_it_depends_on_is_gone(start, make, monkeypatch):
    from airflow_provider_lclstream.hooks import job_watch

    monkeypatch.setattr(job_watch, "GUARD_GRACE_SECONDS", 0.1)
    guard, job = start("true\n"), start("exec sleep 600\n")
    event = fire(make(job.jobid, guard_jobid=guard.jobid))
    assert (event["status"], event["jobid"]) == ("orphaned", job.jobid)


def test_what_goes_wrong_reaches_the_task(make):
    event = fire(make("1.000000000"))
    assert event["status"] == "error"
    assert "there is no job" in event["message"]


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_a_passing_failure_is_passed_over(start, make, monkeypatch):
    job, looks = start("sleep 0.3\n"), []
    real = FolderAccess.look

    def look(self, jobid, **options):
        looks.append(1)
        if len(looks) <= 2:
            raise TemporaryError("the file server hiccups", mend="wait")
        return real(self, jobid, **options)

    monkeypatch.setattr(FolderAccess, "look", look)
    assert fire(make(job.jobid))["status"] == "final"
    assert len(looks) > 2


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_a_failure_that_stays_ends_the_wait(start, make, monkeypatch):
    from airflow_provider_lclstream.hooks import job_watch

    looks = []

    def look(self, jobid, **_):
        looks.append(time.monotonic())
        raise TemporaryError("the file server is gone", mend="wait")

    monkeypatch.setattr(job_watch, "OUTAGE_SECONDS", 1)
    monkeypatch.setattr(FolderAccess, "look", look)
    event = fire(make(start("true\n").jobid))
    assert event["status"] == "error"
    assert "the file server is gone" in event["message"]
    pauses = [later - before for before, later in itertools.pairwise(looks)]
    assert len(pauses) >= 3
    assert pauses[-1] > 1.5 * pauses[0], "it asks less and less often"


def test_the_event_loop_is_never_blocked(start, make):
    """While it looks every 10 ms, a neighbour in the same loop is on time."""

    async def run():
        late = []

        async def neighbour():
            while True:
                begun = time.monotonic()
                await asyncio.sleep(0.01)
                late.append(time.monotonic() - begun - 0.01)

        ticking = asyncio.create_task(neighbour())
        async for _ in make(start("sleep 1\n").jobid, poll_interval=0.01).run():
            pass
        ticking.cancel()
        return late

    late = asyncio.run(run())
    assert len(late) > 20
    # Airflow warns at 0.2 s; imports on the first look and a busy machine are allowed for.
    assert sorted(late)[int(len(late) * 0.95)] < 0.2


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        ("failed", True), ("success", True), ("skipped", True), ("removed", True),
        ("deferred", False),  # a stalled triggerer lost the trigger to another one
        ("running", False), ("queued", False), ("scheduled", False), ("up_for_retry", False),
        (None, False),  # cleared: it will run again and take the job up
    ],
)  # fmt: skip
def test_the_job_is_canceled_only_when_its_task_has_ended(start, make, answers, answer, ends):
    job = start("exec sleep 600\n")
    trigger = make(job.jobid)
    trigger._task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)
    answers({"r": {"t": answer}})
    asyncio.run(trigger.on_kill())
    assert (job.reconcile() == "canceled") is ends


@pytest.fixture
def answers(monkeypatch):
    """What Airflow says about the states of tasks; an exception is raised."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    def give(answer):
        def get_task_states(**_):
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", get_task_states)

    return give


def test_without_an_answer_the_job_goes_on(start, make, answers, monkeypatch):
    from airflow_provider_lclstream.triggers import psik

    monkeypatch.setattr(psik, "STATE_QUESTIONS", 2)
    job = start("exec sleep 600\n")
    trigger = make(job.jobid)
    trigger._task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)
    answers(OSError("the supervisor is gone"))
    asyncio.run(trigger.on_kill())
    assert not job.reconcile().is_final


def test_a_mapped_task_is_told_from_its_siblings(start, make, answers):
    job = start("exec sleep 600\n")
    trigger = make(job.jobid)
    trigger._task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=2)
    answers({"r": {"t_2": "deferred"}})
    asyncio.run(trigger.on_kill())
    assert not job.reconcile().is_final
    answers({"r": {"t_2": "failed"}})
    asyncio.run(trigger.on_kill())
    assert job.reconcile() == "canceled"
