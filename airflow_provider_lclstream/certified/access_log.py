"""What every request passes: revocation of open connections, and the access log."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from airflow_provider_lclstream.certified.asgi import (
    PEER,
    Application,
    Message,
    Receive,
    Scope,
    Send,
    send_problem,
)
from airflow_provider_lclstream.certified.log_sink import LogSink
from lclstreamer.core.errors import PermissionDeniedError
from lclstreamer.transport.peer import PeerIdentity
from lclstreamer.transport.tls import why_refused


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
