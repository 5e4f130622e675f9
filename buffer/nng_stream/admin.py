"""The buffer's HTTP interface, on loopback only: ``/status``, ``/drain`` and ``/metrics``."""

from __future__ import annotations

import ipaddress
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lclstreamer.core.errors import UnavailableError
from lclstreamer.core.exposition import CONTENT_TYPE
from nng_stream.exposition import exposition
from nng_stream.forwarder import Buffer

LOOPBACK = "127.0.0.1"
_REQUEST_SECONDS = 10.0


class Admin:
    """Serves a buffer's state.

    Attributes:
        url: its address.
    """

    def __init__(self, buffer: Buffer, port: int = 0) -> None:
        """Listen; requests are answered after `start`.

        Raises:
            UnavailableError: the port is taken.
        """
        try:
            self._server = ThreadingHTTPServer((LOOPBACK, port), partial(_Handler, buffer))
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on http://{LOOPBACK}:{port}: {error.strerror or error}",
                mend="choose another admin_port, or 0 to have one chosen",
            ) from error
        self._server.daemon_threads = True
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="admin", daemon=True
        )

    def start(self) -> None:
        """Answer requests from now on."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


def status_of(buffer: Buffer) -> dict[str, Any]:
    """What ``/status`` says: where the buffer is in its life, and its ledger up to now."""
    queued_messages, queued_bytes = buffer.queue.unfinished()
    return {
        **buffer.ledger().to_json(),
        "state": buffer.state.value,
        "queued": {"messages": queued_messages, "bytes": queued_bytes},
        "memory": {
            "in_use_bytes": buffer.pool.in_use_bytes,
            "limit_bytes": buffer.pool.limit_bytes,
        },
        "connected": {
            "producers": buffer.inlets.census.connected,
            "consumers": buffer.outlets.census.connected,
        },
        "expected_producers": buffer.settings.expected_producers,
    }


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    timeout = _REQUEST_SECONDS
    protocol_version = "HTTP/1.1"
    server_version = "nng-stream"
    sys_version = ""

    def __init__(self, buffer: Buffer, *arguments: Any) -> None:
        self._buffer = buffer
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if self._is_foreign():
            return
        if self.path == "/status":
            self._answer(200, json.dumps(status_of(self._buffer)), "application/json")
        elif self.path == "/metrics":
            self._answer(200, exposition(self._buffer), CONTENT_TYPE)
        else:
            self._problem(404, "no such page", "ask for /status or /metrics, or POST /drain")

    def do_POST(self) -> None:
        if self._is_foreign():
            return
        if self.path != "/drain":
            self._problem(404, "no such action", "POST to /drain")
            return
        self._buffer.drain()
        self._answer(202, json.dumps({"state": "draining"}), "application/json")

    def _is_foreign(self) -> bool:
        """Refuse who is not on this machine, and web pages that a browser here has open."""
        host = self.headers.get("Host", LOOPBACK).rsplit(":", 1)[0].strip("[]")
        is_local = ipaddress.ip_address(self.client_address[0]).is_loopback
        if is_local and host in {LOOPBACK, "localhost", "::1"} and "Origin" not in self.headers:
            return False
        self._problem(403, "only programs on this machine may ask", "ask from the same machine")
        return True

    def _problem(self, status: int, detail: str, mend: str) -> None:
        text = json.dumps({"status": status, "detail": detail, "mend": mend})
        self._answer(status, text, "application/problem+json")

    def _answer(self, status: int, text: str, content_type: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Requests are not worth a line in the log."""
