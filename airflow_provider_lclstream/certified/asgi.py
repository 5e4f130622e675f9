"""The peer's identity in every ASGI request, revocation of open connections, and the access log."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from airflow_provider_lclstream.certified.log_sink import LogSink
from lclstreamer.core.errors import LCLStreamError, PermissionDeniedError
from lclstreamer.transport.peer import PeerIdentity
from lclstreamer.transport.tls import peer_of, why_refused

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


class AccessLayer:
    """Refuses peers revoked since they connected, and writes one line per request."""

    def __init__(
        self, app: Application, context: ssl.SSLContext | None, sinks: Sequence[LogSink] = ()
    ) -> None:
        self._app = app
        self._context = context
        self._sinks = sinks
        self._started = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, websocket or lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        peer: PeerIdentity | None = scope.get("state", {}).get(PEER)
        scope.setdefault("extensions", {})["tls"] = _tls_extension(scope, peer)
        began = time.perf_counter()
        status = [500]

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        try:
            reason = why_refused(self._context, peer) if self._context and peer else None
            if reason is not None:
                refusal = PermissionDeniedError(reason, mend="ask your authority for a new one")
                await send_problem(noting, 403, refusal, close=True)
            else:
                await self._app(scope, receive, noting)
        finally:
            self._log(scope, peer, status[0], time.perf_counter() - began)

    def _log(self, scope: Scope, peer: PeerIdentity | None, status: int, seconds: float) -> None:
        if not self._sinks:
            return
        line = json.dumps(self._entry(scope, peer, status, seconds))
        for sink in self._sinks:
            sink.offer(line)

    def _entry(
        self, scope: Scope, peer: PeerIdentity | None, status: int, seconds: float
    ) -> dict[str, Any]:
        # Header names are lower case in ASGI. Queries may carry secrets and are left out.
        headers = {name.decode("latin-1"): value.decode("latin-1", "replace")
                   for name, value in scope.get("headers", ())}  # fmt: skip
        version, cipher = scope.get("state", {}).get("tls") or (None, None)
        address, port = (scope.get("client") or (None, None))[:2]
        names = {"commonName": peer.common_name, "userId": peer.user_id} if peer else {}
        return {
            "name": "certified.access",
            "pid": os.getpid(),
            "uptime": round(time.monotonic() - self._started, 3),
            "level": "INFO",
            "type": "access",
            "timestamp": datetime.now(UTC).isoformat(),
            "message": f"{scope['method']} {scope['path']}",
            "method": scope["method"],
            "path": scope["path"],
            "statusCode": status,
            "status": HTTPStatus(status).phrase if status in _KNOWN_STATUS else str(status),
            "process_time": round(seconds, 6),
            "peer": peer.principal if peer else None,
            "serial": peer.serial if peer else None,
            "issuer": peer.issuer if peer else None,
            "remote_user": {name: value for name, value in names.items() if value},
            "remote_addr": address,
            "remote_port": port,
            "ssl_version": version,
            "ssl_cipher": cipher[0] if cipher else None,
            "host": headers.get("host"),
            "user-agent": headers.get("user-agent"),
            "accept": headers.get("accept"),
            "httpVersion": scope.get("http_version"),
        }


_KNOWN_STATUS = {status.value for status in HTTPStatus}


def _tls_extension(scope: Scope, peer: PeerIdentity | None) -> dict[str, Any]:
    """The keys of ASGI's TLS extension that are known here."""
    version, cipher = scope.get("state", {}).get("tls") or (None, None)
    return {
        "client_cert_name": peer.subject if peer else None,
        "tls_version": 0x0304 if version == "TLSv1.3" else None,
        "cipher_suite": cipher[0] if cipher else None,
    }


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
