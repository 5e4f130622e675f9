"""A service that tells its callers who they are: for the first call after an introduction."""

from __future__ import annotations

from airflow_provider_lclstream.certified.asgi import (
    Receive,
    Scope,
    Send,
    peer_in,
    send_json,
    send_problem,
)
from lclstreamer.core.errors import BadInputError


async def app(scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer ``GET /who`` with the caller's identity."""
    if scope["type"] != "http":
        return
    if scope["path"] != "/who":
        missing = BadInputError(f"there is no {scope['path']} here", mend="ask for /who")
        await send_problem(send, 404, missing)
        return
    await send_json(send, 200, peer_in(scope).to_json())
