"""A job in a few facts: for tables, ``--json`` and replies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from airflow_provider_lclstream.psik.job import Job, JobNotFoundError
from airflow_provider_lclstream.psik.states import JobState, Transition


def summarize(job: Job) -> dict[str, Any]:
    """What one line of a list says of a job."""
    last = job.last()
    return {
        "jobid": job.jobid,
        "name": job.spec.name or "",
        "state": str(last.state),
        "jobndx": last.jobndx,
        "info": "" if last.state is JobState.new else last.info,
        "remark": job.remark(),
        "updated": last.time,
        "backend": job.spec.backend,
    }


def describe(job: Job) -> dict[str, Any]:
    """Everything about one job: its line, its history, how it ended, its logs and folders."""
    return {
        **summarize(job),
        "folder": str(job.folder),
        "work": str(job.work),
        "history": [row_facts(row) for row in job.history()],
        "result": job.result(),
        "logs": job.log_names(),
    }


def row_facts(row: Transition) -> dict[str, Any]:
    """One row of the history."""
    info = "" if row.state is JobState.new else row.info
    return {"time": row.time, "jobndx": row.jobndx, "state": str(row.state), "info": info}


def select(jobs: Iterable[Job], states: Iterable[JobState], limit: int) -> Iterator[Job]:
    """The first jobs that are in one of these states; in any, where none is named."""
    wanted, found = frozenset(states), 0
    for job in jobs:
        if found >= limit:
            return
        try:
            if wanted and job.state() not in wanted:
                continue
        except JobNotFoundError:
            continue  # removed a moment ago
        found += 1
        yield job
