"""The peer's identity in every ASGI request, and small answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from lclstreamer.core.errors import LCLStreamError, PermissionDeniedError
from lclstreamer.transport.peer import PeerIdentity
from lclstreamer.transport.tls import peer_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

PEER = "peer"
"""Where the `PeerIdentity` stands in ``scope["state"]``: ``request.state.peer`` in Starlette."""


def peer_in(scope: Scope) -> PeerIdentity:
    """Who sent this request.

    Raises:
        PermissionDeniedError: the request did not come over mutual TLS.
    """
    peer = scope.get("state", {}).get(PEER)
    if not isinstance(peer, PeerIdentity):
        raise PermissionDeniedError(
            "the request carries no identity", mend="connect with a certificate over TLS"
        )
    return peer


def connection_facts(transport: asyncio.BaseTransport) -> dict[str, Any]:
    """What every request of a TLS connection carries in ``scope["state"]``."""
    connection = transport.get_extra_info("ssl_object")
    if connection is None:
        return {}
    return {PEER: peer_of(connection), "tls": (connection.version(), connection.cipher())}


def http_protocol(
    facts: Callable[[asyncio.BaseTransport], dict[str, Any]] = connection_facts,
) -> type[asyncio.Protocol]:
    """The HTTP protocol of uvicorn, with facts of the connection in the state of each request."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Protocol
    except ImportError:  # uvicorn without its "standard" extra
        from uvicorn.protocols.http.h11_impl import H11Protocol as Protocol

    class ConnectionFactsProtocol(Protocol):  # type: ignore[misc, valid-type]
        """Adds to the state that uvicorn copies into every request of this connection."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, **facts(transport)}

    return ConnectionFactsProtocol


async def read_body(receive: Receive, limit_bytes: int) -> bytes:
    """The whole body of a request.

    Raises:
        BadInputError: it is longer than the limit, or the client left.
    """
    from lclstreamer.core.errors import BadInputError

    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadInputError("the client left", mend="send the whole request")
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            raise BadInputError(f"the request is longer than {limit_bytes} bytes", mend="send less")
        if not message.get("more_body"):
            return body


async def send_bytes(
    send: Send, status: int, body: bytes, kind: str, *headers: tuple[bytes, bytes]
) -> None:
    """Answer a request."""
    fixed = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    start = {"type": "http.response.start", "status": status, "headers": [*fixed, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, status: int, document: Any) -> None:
    """Answer a request with JSON."""
    await send_bytes(send, status, json.dumps(document).encode(), "application/json")


async def send_problem(
    send: Send, status: int, error: LCLStreamError, *, close: bool = False
) -> None:
    """Answer a request with an RFC 9457 problem."""
    body = json.dumps({**error.to_problem(), "status": status}).encode()
    headers = [(b"connection", b"close")] if close else []
    await send_bytes(send, status, body, "application/problem+json", *headers)
