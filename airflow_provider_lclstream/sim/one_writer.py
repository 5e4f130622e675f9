"""Airflow's API server lets one request write at a time, as its database does.

It writes its audit log from its event loop. If SQLite's one lock is then held by another request
that has answered but not committed, that commit waits for the loop and the loop for the lock:
both stand still until SQLite gives up, a minute here. Every other database locks rows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PATIENCE_SECONDS = 20.0

PLUGIN = f"""\
from airflow.plugins_manager import AirflowPlugin

from {__name__} import OneWriter


class OneWriterPlugin(AirflowPlugin):
    name = "one_writer"
    fastapi_root_middlewares = [{{"name": "one writer", "middleware": OneWriter}}]
"""
"""A file for the folder of plugins of an Airflow on SQLite."""


class OneWriter:
    """ASGI middleware: requests that may write wait for each other, but not for ever.

    Args:
        app: what answers them.
        patience_seconds: how long one waits for those before it.
    """

    def __init__(self, app: Application, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._app, self._patience_seconds = app, patience_seconds
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, when it is its turn."""
        if scope["type"] != "http" or scope["method"] in READING_METHODS:
            await self._app(scope, receive, send)
            return
        has_turn = False
        with contextlib.suppress(TimeoutError):
            has_turn = await asyncio.wait_for(self._turn.acquire(), self._patience_seconds)
        try:
            await self._app(scope, receive, send)
        finally:
            if has_turn:
                self._turn.release()
