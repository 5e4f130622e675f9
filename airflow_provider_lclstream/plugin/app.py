"""The pages that the plugin serves inside Airflow's API server.

A plugin's pages are open to everybody unless they ask: each route here asks Airflow's auth manager
whether the user may read the task logs of the DAG that started the job, and shows no other DAG's
jobs. Scripts and environments are not shown; they may hold what a site keeps to itself.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse

from airflow_provider_lclstream.hooks.psik import PsikHook, owner_of
from lclstreamer.core.errors import BadInputError

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.job import Job

LOG_BYTES = 16_384
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Job {jobid}</title>
<style>body{{font:15px/1.5 sans-serif;margin:2em auto;max-width:70em;padding:0 1em}}
table{{border-collapse:collapse}}td{{padding:.1em 1.2em .1em 0;vertical-align:top}}
pre{{background:#8881;padding:1em;overflow:auto}}</style>
<h1>{name}</h1><p>Job {jobid} on backend {backend} is <b>{state}</b>.</p>
<table>{history}</table>{logs}</html>
"""


def make_app() -> FastAPI:
    """Make the application that Airflow mounts under ``/lclstream``."""
    app = FastAPI(title="LCLStream", docs_url=None, redoc_url=None, openapi_url=None)
    may_read = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.TASK_LOGS))
    app.add_api_route(
        "/dags/{dag_id}/jobs/{jobid}", show_job, dependencies=[may_read], methods=["GET"]
    )
    return app


def show_job(dag_id: str, jobid: str) -> HTMLResponse:
    """One job of a DAG: its states and the ends of its logs."""
    hook = PsikHook()
    try:
        job = hook.job(jobid)
    except BadInputError as error:
        raise _unknown() from error
    if job.about.get("owner") != owner_of(dag_id):
        raise _unknown()
    return HTMLResponse(_page(hook, job), headers=HEADERS)


def _unknown() -> HTTPException:
    return HTTPException(404, "this DAG has no such job; the button 'Job' of its task knows the id")


def _page(hook: PsikHook, job: Job) -> str:
    rows = [
        (datetime.fromtimestamp(row.time, UTC).strftime("%F %T UTC"), str(row.state), row.info)
        for row in job.history()
    ]
    # The first row's reason is the frozen configuration of the backend, for machines.
    rows[0] = (*rows[0][:2], "")
    logs = [
        f"<h2>{escape(name)}</h2><pre>{escape(text)}</pre>"
        for name, text in hook.log_tails(job, LOG_BYTES)
    ]
    return PAGE.format(
        jobid=escape(job.jobid),
        name=escape(job.spec.name or "job"),
        backend=escape(job.spec.backend),
        state=escape(str(job.state())),
        history="".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
        ),
        logs="".join(logs),
    )
