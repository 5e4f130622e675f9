"""/v4: our own dialect: idempotent submission, long-poll, logs in pieces, results in one file."""

# ruff: noqa: TID253  (a leaf: only a service that starts imports it)
from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, UploadFile
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from airflow_provider_lclstream.psik.facts import JobFacts, JobLine, facts_of
from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import JobSpec, JobState
from airflow_provider_lclstream.psik_api.bundle import bundle
from airflow_provider_lclstream.psik_api.folders import has_file, parts_of
from airflow_provider_lclstream.psik_api.http import Known, Service, file_answer, upload
from airflow_provider_lclstream.psik_api.service import JobFilter
from airflow_provider_lclstream.psik_api.v4_logs import add_logs
from airflow_provider_lclstream.psik_api.waiting import StateWatch, log_size

Wait = Annotated[float, Query(ge=0, le=600, description="longest wait for more rows, in seconds")]

File = Annotated[
    str | None,
    Query(max_length=4096, description="a path below the work folder: `has_file` says if it is"),
]
BUSY = "it is queued or active"


class ListReply(BaseModel):
    """One page of a list."""

    jobs: list[JobLine]
    next: str | None = Field(description="pass it as `before` for the next page")


def make_router(watch: StateWatch) -> APIRouter:
    """The routes of /v4."""
    router = APIRouter(prefix="/v4", tags=["v4"])
    _add_jobs(router)
    _add_job(router, watch)
    add_logs(router)
    _add_files(router)
    return router


def _add_jobs(router: APIRouter) -> None:
    @router.get("/backends")
    def backends(service: Service, caller: Known) -> dict[str, Any]:
        """List the backends the caller may use."""
        return service.backends(caller)

    @router.post("/jobs", status_code=201, response_model=JobFacts)
    def create(
        service: Service,
        caller: Known,
        spec: JobSpec,
        *,
        submit: bool = True,
        idempotency_key: Annotated[str | None, Header(max_length=500)] = None,
    ) -> Response:
        """Make a job and submit it. The same Idempotency-Key gives the same job (200, not 201)."""
        job, is_new = service.create(caller, spec, submit=submit, idempotency_key=idempotency_key)
        return _answer(facts_of(job), 201 if is_new else 200)

    @router.post("/jobs/check", status_code=204)
    def check(service: Service, caller: Known, spec: JobSpec) -> None:
        """Refuse a job that could never run here, without making it."""
        service.check(caller, spec)

    @router.get("/jobs", response_model=ListReply)
    def jobs(
        service: Service,
        caller: Known,
        state: Annotated[list[JobState] | None, Query()] = None,
        backend: str | None = None,
        name: str | None = None,
        before: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> Response:
        """List the jobs that the caller may see, the newest first."""
        chosen = JobFilter(frozenset(state or ()), backend, name, before)
        found = service.list(caller, chosen, skip=0, limit=limit + 1)
        following = json.dumps(found[limit - 1].jobid if len(found) > limit else None)
        page = ", ".join(entry.rendered for entry in found[:limit])
        return Response(f'{{"jobs": [{page}], "next": {following}}}', media_type="application/json")


def _add_job(router: APIRouter, watch: StateWatch) -> None:
    @router.get("/jobs/{jobid}", response_model=JobFacts)
    async def job(
        service: Service,
        caller: Known,
        jobid: str,
        after: Annotated[int, Query(ge=0, le=10**9)] = 0,
        wait: Wait = 0,
        file: File = None,
    ) -> Response:
        """Give a job; with `wait`, as soon as its history is longer than `after`.

        With `file` also as soon as that file is there.
        """
        found = await run_in_threadpool(service.see, caller, jobid)
        is_there = None if file is None else _finder(found, file)
        if wait:
            log = found.folder / "status.csv"
            size, rows = await run_in_threadpool(lambda: (log_size(log), len(found.history())))
            if rows <= after:
                longest = min(wait, service.config.longest_wait_seconds)
                await watch.wait(log, size, longest, is_there)
        return _answer(await run_in_threadpool(_facts, found, after, is_there))

    @router.post("/jobs/{jobid}/start", response_model=JobFacts)
    def start(service: Service, caller: Known, jobid: str) -> Response:
        """Queue a job, or another attempt of one that has ended."""
        return _answer(facts_of(service.start(caller, jobid)))

    @router.delete("/jobs/{jobid}", response_model=JobFacts)
    def cancel(
        service: Service,
        caller: Known,
        jobid: str,
        reason: Annotated[str, Query(max_length=500, description="why, for its history")] = "",
    ) -> Response:
        """End a job; it is `canceled` once nothing of it runs. The job itself stays."""
        return _answer(facts_of(service.cancel(caller, jobid, reason)))

    @router.delete("/jobs/{jobid}/folder", status_code=204, responses={409: {"description": BUSY}})
    def remove(service: Service, caller: Known, jobid: str) -> None:
        """Delete a job that has ended: its history, its files and its logs are gone for good."""
        service.remove(caller, jobid)

    @router.get("/jobs/{jobid}/spec", response_model=JobSpec)
    def spec(service: Service, caller: Known, jobid: str) -> Response:
        """Give a job's specification, without what its callback proves itself by."""
        secret = {"cb_secret", "cb_headers"}
        document = service.see(caller, jobid).spec.model_dump(mode="json", exclude=secret)
        return JSONResponse(document)


def _add_files(router: APIRouter) -> None:
    @router.get("/jobs/{jobid}/files", response_model=dict[str, Any])
    def files(service: Service, caller: Known, jobid: str) -> Response:
        """List the files of a job and those in its folders; 10,000 of them at most."""
        return file_answer(service.see(caller, jobid), "", {})

    @router.post("/jobs/{jobid}/files")
    def put_files(
        service: Service, caller: Known, jobid: str, files: list[UploadFile]
    ) -> list[str]:
        """Write files into a job's work folder; gives their paths."""
        return upload(service, service.change(caller, jobid), files)

    @router.get("/jobs/{jobid}/files/{path:path}", response_class=Response)
    def read_file(
        service: Service, caller: Known, jobid: str, path: str, request: Request
    ) -> Response:
        """Read a file of a job, or a range of it."""
        return file_answer(service.see(caller, jobid), path, request.headers)

    @router.get("/jobs/{jobid}/results.tar", response_class=Response)
    def results(service: Service, caller: Known, jobid: str) -> Response:
        """Give the work folder and the logs as one tar."""
        job = service.see(caller, jobid)
        headers = {"content-disposition": f'attachment; filename="{job.jobid}.tar"'}
        return StreamingResponse(
            bundle(job.folder), headers=headers, media_type="application/x-tar"
        )


def _finder(job: Job, path: str) -> Callable[[], bool]:
    """Tells whether a file is in a job's work folder."""
    return functools.partial(has_file, job.folder / "work", parts_of(path))


def _facts(job: Job, after: int, is_there: Callable[[], bool] | None) -> JobFacts:
    facts = facts_of(job, after)
    return facts.model_copy(update={"has_file": is_there()}) if is_there else facts


def _answer(facts: JobFacts, status: int = 200) -> Response:
    return Response(facts.model_dump_json(), status, media_type="application/json")
