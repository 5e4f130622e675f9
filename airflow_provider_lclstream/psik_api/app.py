"""The application: routes, health and metrics, and the loops that run beside them."""

# ruff: noqa: TID253  (a leaf: only a service that starts imports it)
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse, Response

from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.psik_api import upstream, v4
from airflow_provider_lclstream.psik_api.caller import caller_of
from airflow_provider_lclstream.psik_api.http import (
    BodyLimit,
    answer_broken,
    answer_error,
    answer_invalid,
)
from airflow_provider_lclstream.psik_api.loops import Loops
from airflow_provider_lclstream.psik_api.metrics import RequestCounter, samples_of
from airflow_provider_lclstream.psik_api.service import JobService
from airflow_provider_lclstream.psik_api.settings import ServiceConfig
from airflow_provider_lclstream.psik_api.waiting import StateWatch
from lclstreamer.core.errors import LCLStreamError, PermissionDeniedError
from lclstreamer.core.exposition import CONTENT_TYPE, exposition


def create_app(config: ServiceConfig, *, loopback_caller: str | None = None) -> FastAPI:
    """The ASGI application of a service.

    Args:
        config: its configuration.
        loopback_caller: who plain requests from this machine come from; for developers and tests.
    """
    service = JobService(config, JobStore.from_config(config))
    app = FastAPI(
        title="Psik-API",
        version="4",
        summary="Jobs over HTTP: submit, wait, read logs and files, cancel.",
        lifespan=_beside_the_loops,
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.service, app.state.loopback_caller = service, loopback_caller
    app.add_exception_handler(LCLStreamError, answer_error)
    app.add_exception_handler(OSError, answer_broken)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_middleware(
        BodyLimit, limit_bytes=config.max_body, upload_bytes=config.max_upload + config.max_body
    )
    app.add_middleware(RequestCounter, service=service)
    watch = StateWatch()
    app.include_router(v4.make_router(watch))
    app.include_router(upstream.make_router("v3"))
    app.include_router(upstream.make_router("v2"))
    _add_health(app, service, watch)
    return app


def _add_health(app: FastAPI, service: JobService, watch: StateWatch) -> None:
    @app.get("/healthz", tags=["service"])
    async def health(request: Request) -> Response:  # on the loop: it needs no thread to be free
        """Tell whether the service works: whether its loops run, and get on."""
        loops: Loops = request.app.state.loops
        stopped, problems = loops.stopped(), loops.problems()
        is_well = not stopped and not problems
        return JSONResponse(
            {"status": "ok" if is_well else "failing", "stopped": stopped, "problems": problems},
            200 if is_well else 503,
        )

    @app.get("/who", tags=["service"])
    def who(request: Request) -> dict[str, Any]:
        """Tell the caller who they are here, and what the policy lets them do."""
        peer = request.scope.get("state", {}).get("peer")
        caller = caller_of(request.scope, loopback_caller=request.app.state.loopback_caller)
        facts = {"owner": caller.owner} if peer is None else peer.to_json()
        try:
            may = service.rule(caller).model_dump(exclude={"who"})
        except PermissionDeniedError:
            may = None
        return {**facts, "may": may}

    @app.get("/metrics", tags=["service"], response_class=Response)
    def metrics(request: Request) -> Response:
        """Give the service's metrics in Prometheus's text format."""
        samples = samples_of(service, request.app.state.loops.last_round, watch)
        return Response(exposition(samples), media_type=CONTENT_TYPE)


@contextlib.asynccontextmanager
async def _beside_the_loops(app: FastAPI) -> AsyncGenerator[None]:
    service: JobService = app.state.service
    app.state.loops = loops = Loops(service)
    loops.start()
    await asyncio.to_thread(service.index.entries)  # the first look takes longest
    try:
        yield
    finally:
        await loops.stop()
