"""What is reported about a job: in tables, with ``--json``, in the replies of a service."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ConfigDict

from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.states import JobState, Transition


class _Facts(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class RowFacts(_Facts):
    """One row of a history."""

    time: float
    """When, in seconds since 1970."""
    jobndx: int
    """The attempt; 0 before the first."""
    state: JobState
    """The state that was reached."""
    info: str
    """The reason, exit code or native id."""


class JobLine(_Facts):
    """A job in a list."""

    jobid: str
    """Its id."""
    name: str
    """Its name, or an empty text."""
    state: JobState
    """The state it is in."""
    jobndx: int
    """The present attempt."""
    info: str
    """The reason, exit code or native id."""
    updated: float
    """When it reached that state, in seconds since 1970."""
    backend: str
    """Where it runs."""
    owner: str | None = None
    """Its owner, on a service that several people use."""
    remark: str = ""
    """What its backend says about it in this state, e.g. why it is waiting."""


class JobFacts(JobLine):
    """A job."""

    rows: int
    """How many rows its history has; pass it as `after`."""
    history: tuple[RowFacts, ...]
    """Its rows, from `after` on."""
    result: dict[str, Any] | None
    """How the present attempt's script ended."""
    logs: tuple[str, ...]
    """The names of its logs."""
    has_file: bool | None = None
    """Whether the file that was asked about is in its work folder."""


class FileFacts(_Facts):
    """A file in a job's work folder."""

    path: str
    """Relative to the work folder, with slashes."""
    size: int
    """Bytes."""
    mtime: float
    """When it was last modified, in seconds since 1970."""


class BackendFacts(_Facts):
    """A backend that jobs may be submitted to."""

    name: str
    """What a JobSpec calls it."""
    type: str
    """Its kind."""
    queue_name: str | None = None
    """The queue or partition behind it."""
    problem: str | None = None
    """Why it cannot be used."""


def printable(name: str) -> str:
    """A file's name as a reply can carry it; bytes that are no UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def row_facts(row: Transition) -> RowFacts:
    """One row; the first one's info is the frozen configuration, for machines."""
    info = "" if row.state is JobState.new else row.info
    return RowFacts(time=row.time, jobndx=row.jobndx, state=row.state, info=info)


def line_of(job: Job) -> JobLine:
    """A job as a list shows it."""
    spec, last = job.spec, row_facts(job.last())
    return JobLine(
        jobid=job.jobid,
        name=spec.name or "",
        state=last.state,
        jobndx=last.jobndx,
        info=last.info,
        updated=last.time,
        backend=spec.backend,
        owner=job.about.get("owner"),
        remark=job.remark(),
    )


def facts_of(job: Job, after: int = 0, file: str | None = None) -> JobFacts:
    """Everything about a job, as its folder has it now.

    Args:
        job: the job.
        after: how many rows of its history are left out.
        file: a path below the work folder; `JobFacts.has_file` says whether it is there.
    """
    rows = job.history()
    return JobFacts(
        **dict(line_of(job)),
        rows=len(rows),
        history=tuple(row_facts(row) for row in rows[after:]),
        result=job.result(),
        logs=tuple(job.log_names()),
        has_file=None if file is None else (job.work / file).is_file(),
    )
