"""The list of jobs in memory, while jobs come and go."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_lclstream.psik.models import JobSpec
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.psik_api.index import JobIndex

SPEC = JobSpec(script=":")


def test_a_job_that_is_removed_while_it_is_announced_spoils_nothing(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs")
    index, removed, other = JobIndex(store), store.create(SPEC), store.create(SPEC)
    store.remove(removed.jobid)
    index.look_again(removed)  # by the request that made or started it
    index.look_again(other)
    assert [entry.jobid for entry in index.entries()] == [other.jobid]
    assert index.unfinished("alice") == 0
    assert index.pending() == []
