"""/v4: the logs of a job, in pieces or followed while they grow."""

# ruff: noqa: TID253  (a leaf: only a service that starts imports it)
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from airflow_provider_lclstream.psik.job import Job, JobNotFoundError
from airflow_provider_lclstream.psik_api.http import Known, Service

MAX_PIECE_BYTES = 2**24
FOLLOW_SECONDS = 0.1


def add_logs(router: APIRouter) -> None:
    """Add the routes below ``/jobs/{jobid}/logs``."""

    @router.get("/jobs/{jobid}/logs")
    def logs(service: Service, caller: Known, jobid: str) -> dict[str, int]:
        """List a job's logs and their lengths in bytes."""
        return service.see(caller, jobid).log_sizes()

    @router.get("/jobs/{jobid}/logs/{name}", response_class=Response)
    def log(
        service: Service,
        caller: Known,
        jobid: str,
        name: str,
        offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
        tail: Annotated[int | None, Query(ge=0, le=2**62)] = None,
        limit: Annotated[int, Query(ge=0, le=MAX_PIECE_BYTES)] = MAX_PIECE_BYTES,
        *,
        follow: bool = False,
    ) -> Response:
        """Give a log from a byte on, or from so many before its end, at most `limit` at once.

        With `follow` go on, without a limit, until the job has ended.
        """
        job = service.see(caller, jobid)
        if follow and _is_to_come(job, name):
            return StreamingResponse(_follow(job, name, 0), media_type="text/plain")
        job.read_log(name, 0, 0)  # is it there? Once a reply has begun it is too late to refuse
        if tail is not None:
            offset = max(0, (job.folder / "log" / name).stat().st_size - tail)
        if follow:
            return StreamingResponse(_follow(job, name, offset), media_type="text/plain")
        piece = job.read_log(name, offset, limit)
        headers = {"x-next-offset": str(offset + len(piece))}
        return Response(piece, headers=headers, media_type="application/octet-stream")


def _is_to_come(job: Job, name: str) -> bool:
    """Whether a log is not there yet, but will be once the script runs."""
    attempt = job.pending_attempt()
    names = {f"{stem}.{attempt.jobndx}" for stem in ("stdout", "stderr")} if attempt else set[str]()
    return name in names and name not in job.log_names()


def _piece(job: Job, name: str, offset: int) -> bytes:
    try:
        return job.read_log(name, offset, 2**18)
    except (JobNotFoundError, OSError):
        return b""  # not yet there, or no longer


def _is_over(job: Job) -> bool:
    try:
        return job.pending_attempt() is None
    except JobNotFoundError:
        return True


async def _follow(job: Job, name: str, offset: int) -> AsyncIterator[bytes]:
    while True:
        is_over = await run_in_threadpool(_is_over, job)
        while piece := await run_in_threadpool(_piece, job, name, offset):
            offset += len(piece)
            yield piece
        if is_over:
            return
        await asyncio.sleep(FOLLOW_SECONDS)
