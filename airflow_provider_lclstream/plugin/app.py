"""The pages that the plugin serves inside Airflow's API server.

A plugin's pages are open to everybody unless they ask: each route here asks Airflow's auth manager
whether the user may read the task logs of the DAG that started the job, and shows no other DAG's
jobs. Scripts and environments are not shown; they may hold what a site keeps to itself. Whatever
is not to be shown looks like a job that does not exist: the page tells nothing of connections.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.sdk.exceptions import AirflowException
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse

from airflow_provider_lclstream.hooks.job_results import log_tails
from airflow_provider_lclstream.hooks.psik import PsikHook
from airflow_provider_lclstream.links import DAG_VARIABLE
from lclstreamer.core.errors import LCLStreamError
from lclstreamer.core.units import format_bytes

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.facts import JobFacts

logger = logging.getLogger(__name__)
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
<h1>{name}</h1><p>Job {jobid} on backend {backend} is <b>{state}</b>{reason}.</p>
<table>{history}</table>{result}{logs}</html>
"""


def make_app() -> FastAPI:
    """Make the application that Airflow mounts under ``/lclstream``."""
    app = FastAPI(title="LCLStream", docs_url=None, redoc_url=None, openapi_url=None)
    may_read = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.TASK_LOGS))
    app.add_api_route(
        "/dags/{dag_id}/jobs/{jobid}", show_job, dependencies=[may_read], methods=["GET"]
    )
    return app


def show_job(dag_id: str, jobid: str, connection: str = PsikHook.default_conn_name) -> HTMLResponse:
    """One job of a DAG: its states, what it used, and the ends of its logs."""
    hook = PsikHook(connection, is_bystander=True)
    try:
        access = hook.access
        if access.spec(jobid).environment.get(DAG_VARIABLE) != dag_id:
            raise _unknown()
        facts = access.look(jobid)
        page = _page(facts, log_tails(access, facts, LOG_BYTES))
    except (LCLStreamError, AirflowException, OSError, ValueError) as error:
        logger.info("job %s of DAG %s is not shown: %s", jobid, dag_id, error)
        raise _unknown() from error
    finally:
        hook.close()
    return HTMLResponse(page, headers=HEADERS)


def _unknown() -> HTTPException:
    return HTTPException(
        404,
        "this DAG has no such job, or the place where its jobs are does not tell of it now; "
        "the button 'Job' of its task knows the address",
    )


def _page(facts: JobFacts, logs: Iterable[tuple[str, str]]) -> str:
    reason = facts.info or facts.remark
    return PAGE.format(
        jobid=escape(facts.jobid),
        name=escape(facts.name or "job"),
        backend=escape(facts.backend),
        state=escape(str(facts.state)),
        reason=f": {escape(reason)}" if reason else "",
        history=_rows(
            (datetime.fromtimestamp(row.time, UTC).strftime("%F %T UTC"), str(row.state), row.info)
            for row in facts.history
        ),
        result=f"<h2>Usage</h2><table>{_rows(_usage(facts))}</table>" if facts.result else "",
        logs="".join(f"<h2>{escape(name)}</h2><pre>{escape(text)}</pre>" for name, text in logs),
    )


def _usage(facts: JobFacts) -> Iterator[tuple[str, str]]:
    """What the present attempt's script used, in words; what is not known is left out."""
    result = facts.result or {}
    for key, name, unit in (
        ("exit_code", "exit code", ""),
        ("signal", "ended by signal", ""),
        ("wall_seconds", "run time", " s"),
        ("user_seconds", "user CPU time", " s"),
        ("system_seconds", "system CPU time", " s"),
    ):
        if isinstance(value := result.get(key), int | float):
            yield name, f"{value:.10g}{unit}" if unit == "" else f"{value:.2f}{unit}"
    if isinstance(memory := result.get("max_resident_bytes"), int | float):
        yield "peak memory", format_bytes(memory)


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
