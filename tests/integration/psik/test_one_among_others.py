"""One job's damage is its own: the others run, are listed and end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest

from airflow_provider_lclstream.psik.access.folder import FolderAccess
from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import JobState
from airflow_provider_lclstream.psik.reconciler import reconcile
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import BadInputError

Submit = Callable[..., Job]


def _damage_spec(job: Job) -> None:
    document = json.loads((job.folder / "spec.json").read_text())
    (job.folder / "spec.json").write_text(json.dumps({**document, "of_tomorrow": 1}))


def test_a_specification_of_another_version(
    store: JobStore, submit: Submit, reach: Callable[..., None], wait_for: Callable[..., None]
) -> None:
    damaged, sound = submit(store, "sleep 600"), submit(store, "sleep 600")
    wait_for(lambda: "stdout.1" in damaged.log_names())  # its runner has read the specification
    _damage_spec(damaged)
    told: list[str] = []
    again = JobStore(store.prefix, store.backends)
    lines = FolderAccess(again, tell=told.append).lines()
    assert [line.jobid for line in lines] == [sound.jobid]
    assert any(damaged.jobid in text and "of_tomorrow" in text for text in told)
    result = reconcile(again.jobs())
    assert (result.asked, len(result.problems)) == (1, 1)
    with pytest.raises(BadInputError, match="of_tomorrow: extra inputs"):
        again.get(damaged.jobid).cancel()
    damaged.cancel()  # as it was read before
    reach(damaged)


def test_a_folder_that_cannot_be_written_to(
    store: JobStore, submit: Submit, reach: Callable[..., None]
) -> None:
    damaged, sound = submit(store, "sleep 600"), submit(store, "true")
    reach(damaged, "active")
    status = damaged.folder / "status.csv"
    rows = status.read_bytes()
    status.unlink()
    status.mkdir()
    reach(sound)
    assert sound.state() is JobState.completed
    status.rmdir()
    status.write_bytes(rows)
    damaged.cancel()
    reach(damaged)


def test_the_queue_is_not_held_up(
    make_store: Callable[..., JobStore], submit: Submit, reach: Callable[..., None]
) -> None:
    store = make_store(slots="1")
    first = submit(store, "sleep 0.5")
    damaged, behind = submit(store, "true"), submit(store, "true")
    shutil.rmtree(damaged.folder / "log")
    (store.prefix / ".psik" / "queues" / "default" / "tickets" / ".nfs0000000012").touch()
    for job in (first, damaged, behind):
        reach(job)
    assert behind.state() is JobState.completed
    assert damaged.state() is JobState.failed
    assert "log/console: No such file" in damaged.last().info


def test_a_log_opened_anew_has_no_holes(
    store: JobStore, submit: Submit, reach: Callable[..., None]
) -> None:
    job = submit(store, "echo a long line >&2; echo b | tee /dev/stderr; echo c >&2")
    reach(job)
    assert job.log("stderr.1") == "b\nc\n"
