"""The counters of `lclstream arp serve` for Prometheus, on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lclstreamer.core.errors import UnavailableError
from lclstreamer.core.exposition import CONTENT_TYPE, exposition

DISPATCHED = "lclstream_runevents_dispatched_total"
REJECTED = "lclstream_runevents_rejected_total"
Counts = Callable[[], Mapping[str, int]]


class _Handler(BaseHTTPRequestHandler):
    """Answers ``/metrics``."""

    timeout = 10

    def __init__(self, counts: Counts, *arguments: Any) -> None:
        self._counts = counts
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Give the counts as they are now."""
        is_known = self.path.partition("?")[0] == "/metrics"
        body = _written(self._counts()).encode() if is_known else b"ask for /metrics\n"
        self.send_response(200 if is_known else 404)
        self.send_header("content-type", CONTENT_TYPE if is_known else "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """Say nothing of each scrape."""


def serve_metrics(port: int, counts: Counts) -> Callable[[], None]:
    """Serve the counts at ``http://127.0.0.1:<port>/metrics``; returns what ends it.

    Raises:
        UnavailableError: the port is in use.
    """
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, counts))
    except OSError as error:
        raise UnavailableError(
            f"metrics cannot be served on port {port}: {error.strerror}",
            mend="choose another with --metrics-port, or leave it out",
        ) from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(5)

    return stop


def _written(counts: Mapping[str, int]) -> str:
    dispatched = {(outcome,): n for outcome, n in counts.items() if outcome != "rejected"}
    return exposition({DISPATCHED: dispatched, REJECTED: {(): counts.get("rejected", 0)}})
