"""The HTTP side that the doubles of facilities share."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from facility_jobs import FacilityJobs


@dataclass
class Asked:
    """One request: its path's variable parts, query, headers in lower case, and body."""

    parts: tuple[str, ...]
    query: dict[str, list[str]]
    headers: dict[str, str] = field(repr=False)
    body: bytes = b""

    def form(self) -> dict[str, str]:
        """The fields of a form."""
        return {k: v[0] for k, v in parse_qs(self.body.decode()).items()}


class Refusal(Exception):
    """Answers a status with a detail."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(status)
        self.status, self.detail = status, detail


Answer = Callable[[Asked], tuple[int, Any]]


class FacilityServer:
    """A server on loopback, as a context manager; `routes` maps ``METHOD pattern`` to an answer."""

    def __init__(self, jobs: FacilityJobs) -> None:
        self.jobs = jobs
        self.routes: dict[tuple[str, re.Pattern[str]], Answer] = {}
        self.faults: list[int | str] = []
        """Taken one per request: a status to answer, or ``hang up`` (the request is served, its
        answer lost)."""
        self.asked: list[str] = []
        """``METHOD path`` of every request."""
        handler = type("Handler", (_Handler,), {"facility": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        self.jobs.close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Any:
        """Status and document of a request; None for a connection that is cut."""
        parts = urlsplit(target)
        self.asked.append(f"{method} {parts.path}")
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return fault, {"detail": "a fault made by the test"}
        status, document = self._served(method, parts.path, parse_qs(parts.query), headers, body)
        return None if fault == "hang up" else (status, document)

    def _served(
        self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: bytes
    ) -> tuple[int, Any]:
        for (verb, pattern), answer in self.routes.items():
            found = pattern.fullmatch(path)
            if found and verb == method:
                words = tuple(unquote(word) for word in found.groups())
                try:
                    return answer(Asked(words, query, headers, body))
                except Refusal as refusal:
                    return refusal.status, {"detail": refusal.detail}
        return 404, {"detail": "Not Found"}


class _Handler(BaseHTTPRequestHandler):
    facility: FacilityServer
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answered = self.facility.answer(self.command, self.path, headers, body)
        self.close_connection = True
        if answered is None:
            return
        status, document = answered
        content = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_PUT = _serve

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""
