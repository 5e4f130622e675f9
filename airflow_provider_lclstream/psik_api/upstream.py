"""/v2 and /v3: what upstream's psik clients speak. v2 writes ``info`` as a number, v3 as a text."""

# ruff: noqa: TID253  (a leaf: only a service that starts imports it)
from __future__ import annotations

import re
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, UploadFile
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from airflow_provider_lclstream.psik.job import JobNotFoundError
from airflow_provider_lclstream.psik.layout import is_jobid
from airflow_provider_lclstream.psik.models import JobSpec, JobState, Transition
from airflow_provider_lclstream.psik_api.http import Known, Service, file_answer, upload
from airflow_provider_lclstream.psik_api.service import JobFilter
from lclstreamer.core.errors import BadInputError

Dialect = Literal["v2", "v3"]
LOG_TAIL_BYTES = 2**20
"""How much of each log the reply that holds all of them shows."""


class SystemStatus(BaseModel):
    """A backend, in upstream's words."""

    name: str
    full_name: str
    description: str
    system_type: str
    notes: list[str]
    status: str
    updated_at: float


class JobStepInfo(BaseModel):
    """One row of a job's history, in upstream's words."""

    jobid: str
    name: str
    updated: float
    jobndx: int
    state: JobState
    info: int | str


def info_number(row: Transition) -> int:
    """What v2 writes as ``info``: an exit code, 128 + a signal, 9 for a time limit, a native id."""
    text = row.info
    if row.state is JobState.new:
        return 0
    if "time limit" in text:
        return 9
    match = re.match(r"(exit code |signal )?(\d{1,18})\b", text) or re.search(
        r"(exit code )(\d+)", text
    )
    if match is None:
        return 1 if row.state is JobState.failed else 0
    return int(match[2]) + (128 if match[1] == "signal " else 0)


def step_of(jobid: str, name: str, row: Transition, dialect: Dialect) -> dict[str, Any]:
    """One row as a reply writes it."""
    text = "{}" if row.state is JobState.new else row.info
    return {
        "jobid": jobid,
        "name": name,
        "updated": row.time,
        "jobndx": row.jobndx,
        "state": str(row.state),
        "info": info_number(row) if dialect == "v2" else text,
    }


def make_router(dialect: Dialect) -> APIRouter:
    """The routes of one dialect."""
    router = APIRouter(prefix=f"/{dialect}", tags=[dialect])
    _add_backends(router)
    _add_jobs(router, dialect)
    _add_job(router, dialect)
    _add_files(router)
    return router


def _add_backends(router: APIRouter) -> None:
    @router.get("/backends", response_model=dict[str, SystemStatus])
    def backends(service: Service, caller: Known, name: str | None = None) -> Any:
        """List the backends the caller may use."""
        return {
            each: _system(each, facts)
            for each, facts in service.backends(caller).items()
            if name in {None, each}
        }

    @router.get("/backends/{name}", response_model=SystemStatus)
    def backend(service: Service, caller: Known, name: str) -> Any:
        """Describe one backend."""
        found = service.backends(caller)
        if name not in found:
            raise JobNotFoundError(f"there is no backend {name!r}", mend="list the backends")
        return _system(name, found[name])


def _add_jobs(router: APIRouter, dialect: Dialect) -> None:
    @router.get("/jobs", response_model=list[JobStepInfo])
    def jobs(
        service: Service,
        caller: Known,
        index: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 50,
        backend: str | None = None,
        state: JobState | None = None,
    ) -> Response:
        """List the caller's jobs, the newest first."""
        chosen = JobFilter(frozenset({state} if state else ()), backend)
        found = service.list(caller, chosen, skip=index, limit=limit)
        return JSONResponse([step_of(e.jobid, e.name, e.last, dialect) for e in found])

    @router.post("/jobs", response_model=str)
    def create(service: Service, caller: Known, spec: JobSpec, submit: bool = True) -> str:
        """Make a job, and submit it unless told otherwise."""
        return service.create(caller, spec, submit=submit)[0].jobid

    @router.post("/jobs/new", response_model=str)
    def create_new(service: Service, caller: Known, spec: JobSpec) -> str:
        """Make a job without submitting it."""
        return service.create(caller, spec, submit=False)[0].jobid


def _add_job(router: APIRouter, dialect: Dialect) -> None:
    @router.get("/jobs/{jobid}", response_model=list[JobStepInfo])
    def history(service: Service, caller: Known, jobid: str) -> Any:
        """Give a job's whole history."""
        job = service.see(caller, _checked(jobid))
        name = job.spec.name or ""
        return [step_of(jobid, name, row, dialect) for row in job.history()]

    @router.get("/jobs/{jobid}/state", response_model=JobState)
    def state(service: Service, caller: Known, jobid: str) -> JobState:
        """Give a job's present state."""
        return service.see(caller, _checked(jobid)).state()

    @router.delete("/jobs/{jobid}", response_model=None)
    def cancel(service: Service, caller: Known, jobid: str) -> None:
        """End a job."""
        service.cancel(caller, _checked(jobid))

    @router.post("/jobs/{jobid}/start", response_model=None)
    def start(service: Service, caller: Known, jobid: str) -> None:
        """Queue a job, or another attempt of one that has ended."""
        service.start(caller, _checked(jobid))

    @router.get("/jobs/{jobid}/logs", response_model=dict[str, str])
    def logs(service: Service, caller: Known, jobid: str) -> Any:
        """Give the ends of all logs."""
        job = service.see(caller, _checked(jobid))
        return {
            name: job.read_log(name, -LOG_TAIL_BYTES, None).decode("utf-8", "replace")
            for name in job.log_names()
        }


def _add_files(router: APIRouter) -> None:
    @router.get("/jobs/{jobid}/files", response_model=None)
    def files(service: Service, caller: Known, jobid: str) -> Response:
        """List the files of a job."""
        return file_answer(service.see(caller, _checked(jobid)), "", {})

    @router.post("/jobs/{jobid}/files", response_model=None)
    def put_files(service: Service, caller: Known, jobid: str, files: list[UploadFile]) -> None:
        """Write files into a job's work folder."""
        upload(service, service.change(caller, _checked(jobid)), files)

    @router.get("/jobs/{jobid}/files/{path:path}", response_model=None)
    def read_file(
        service: Service, caller: Known, jobid: str, path: str, request: Request
    ) -> Response:
        """Read a file of a job, or a range of it."""
        job = service.see(caller, _checked(jobid))
        return file_answer(job, path, request.headers)


def _checked(jobid: str) -> str:
    if not is_jobid(jobid):
        raise BadInputError("Invalid jobid", mend="use the id that POST /jobs returned")
    return jobid


def _system(name: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "full_name": name,
        "description": f"psik:{facts['type']} job manager",
        "system_type": "compute",
        "notes": [facts["problem"]] if facts["problem"] else [],
        "status": "unavailable" if facts["problem"] else "active",
        "updated_at": time.time(),
    }
