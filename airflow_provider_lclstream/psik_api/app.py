"""The application: routes, metrics, and the two loops that run beside them."""

# ruff: noqa: TID253  (a leaf: only a service that starts imports it)
from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from airflow_provider_lclstream.psik.callbacks.courier import Courier
from airflow_provider_lclstream.psik.callbacks.start import courier_lock
from airflow_provider_lclstream.psik.state_log import try_lock
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.psik_api import upstream, v4
from airflow_provider_lclstream.psik_api.http import BodyLimit, answer_error
from airflow_provider_lclstream.psik_api.service import JobService
from airflow_provider_lclstream.psik_api.settings import ServiceConfig
from airflow_provider_lclstream.psik_api.waiting import StateWatch
from lclstreamer.core.errors import LCLStreamError

if TYPE_CHECKING:
    from starlette.types import Lifespan

logger = logging.getLogger(__name__)
RETRY_SECONDS = 1.0


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
        lifespan=_loops(service),
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.service, app.state.loopback_caller = service, loopback_caller
    app.add_exception_handler(LCLStreamError, answer_error)
    app.add_middleware(
        BodyLimit, limit_bytes=config.max_body, upload_bytes=config.max_upload + config.max_body
    )
    app.include_router(v4.make_router(StateWatch()))
    app.include_router(upstream.make_router("v3"))
    app.include_router(upstream.make_router("v2"))
    _add_health(app, service)
    return app


def _add_health(app: FastAPI, service: JobService) -> None:
    @app.get("/healthz", tags=["service"])
    def health() -> Response:
        """Tell whether the service works: its loops run and its disk can be written."""
        problems = [name for name, loop in app.state.loops.items() if not loop.is_alive()]
        return JSONResponse(
            {"status": "failing" if problems else "ok", "stopped": problems},
            503 if problems else 200,
        )

    @app.get("/metrics", tags=["service"], response_class=Response)
    def metrics(request: Request) -> Response:  # noqa: ARG001  (FastAPI's signature)
        """Count the jobs by state, in Prometheus's text format."""
        counts = Counter(str(entry.last.state) for entry in service.index.entries())
        lines = ["# TYPE lclstream_jobs_known_total gauge"]
        lines += [
            f'lclstream_jobs_known_total{{state="{s}"}} {n}' for s, n in sorted(counts.items())
        ]
        return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def _loops(service: JobService) -> Lifespan[FastAPI]:
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        stop = threading.Event()
        app.state.loops = {
            "reconciler": _thread(lambda: _reconcile(service, stop)),
            "courier": _thread(lambda: _deliver(service, stop)),
        }
        await asyncio.to_thread(service.index.entries)  # the first look takes longest
        try:
            yield
        finally:
            stop.set()
            for loop in app.state.loops.values():
                await asyncio.to_thread(loop.join, 30)

    return lifespan


def _thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _reconcile(service: JobService, stop: threading.Event) -> None:
    while not stop.is_set():
        began = time.monotonic()
        try:
            for problem in service.reconcile().problems:
                logger.warning("reconciling", extra={"problem": problem})
            service.index.sweep()
        except (LCLStreamError, OSError) as error:
            logger.warning("reconciling", extra={"problem": str(error)})
        stop.wait(max(0.1, service.config.reconcile_seconds - (time.monotonic() - began)))


def _deliver(service: JobService, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            with try_lock(courier_lock(service.store.prefix)) as is_ours:
                if is_ours:
                    courier = Courier(service.store, stop=stop)
                    asyncio.run(courier.run(until_idle=False))
        except (LCLStreamError, OSError, ExceptionGroup) as error:
            logger.warning("delivering callbacks", extra={"problem": str(error)})
        stop.wait(RETRY_SECONDS)
