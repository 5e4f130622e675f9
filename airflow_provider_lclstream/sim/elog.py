"""A minimal Elog: the REST calls that a run needs, and the Kafka messages they publish.

Served by the standard library, so that it starts at once. As at SLAC, a broker that is down does
not stop a run: the run is in the book, its message is lost, and only a REST sweep finds it. Errors
answer as the real one's do: prose under a JSON content type.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from airflow_provider_lclstream.sim.elog_book import ElogBook, NoSuchPageError, Published
from airflow_provider_lclstream.sim.elog_routes import Reply, answer
from lclstreamer.core.errors import BadInputError, UnavailableError
from lclstreamer.event_sources.base import StopFlag

logger = logging.getLogger(__name__)

MAXIMUM_BODY_BYTES = 2**20
PREFIX = "/ws/lgbk"
Publish = Callable[[Iterable[Published]], None]


class KafkaPublisher:
    """Sends messages as the Elog does: JSON, no key, no headers, and no look at the result."""

    def __init__(self, bootstrap: str, *, timeout_seconds: float = 5) -> None:
        from confluent_kafka import KafkaException, Producer

        self._timeout_seconds = timeout_seconds
        settings = {"bootstrap.servers": bootstrap, "acks": 1, "linger.ms": 0, "log_level": 2}
        self._producer = Producer(settings)
        try:
            self._producer.list_topics(timeout=timeout_seconds)
        except KafkaException as error:
            raise UnavailableError(
                f"no Kafka broker answers: {error}",
                where=bootstrap,
                mend="start one with `lclstream sim kafka`, or mend the address",
            ) from error

    def __call__(self, messages: Iterable[Published]) -> None:
        """Publish and wait a bounded time for the broker."""
        for topic, envelope in messages:
            self._producer.produce(topic, json.dumps(envelope).encode())
        left = self._producer.flush(self._timeout_seconds)
        if left:
            logger.warning("the broker did not take %d messages of the Elog", left)


class ElogServer:
    """The Elog's REST interface over a book, on loopback.

    Args:
        book: what it serves.
        publish: takes the messages that changes give rise to.
        port: 0 takes a free one.
    """

    def __init__(self, book: ElogBook, publish: Publish, *, port: int = 0) -> None:
        self.book = book
        self._publish = publish
        self._lock = threading.Lock()
        try:
            handler = type("Handler", (_Handler,), {"elog": self})
            self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        except OSError as error:
            raise UnavailableError(
                f"the Elog cannot listen on port {port}: {error.strerror}",
                mend="choose another port, or 0 for any free one",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            name="elog",
            kwargs={"poll_interval": 0.05},
            daemon=True,
        )

    @property
    def url(self) -> str:
        """The base to which clients add ``/lgbk/…`` and ``/run_control/…``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{PREFIX}"

    def start(self) -> None:
        """Serve in the background."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(5)
        self._server.server_close()

    def reply(self, target: str, body: dict[str, Any]) -> Reply:
        """Answer a request and publish what follows from it, in the order of the changes."""
        url = urlsplit(target)
        if not url.path.startswith(PREFIX):
            raise NoSuchPageError(f"no route {url.path}", mend=f"routes begin with {PREFIX}")
        with self._lock:
            reply = answer(self.book, url.path[len(PREFIX) :], dict(parse_qsl(url.query)), body)
            self._publish(reply.messages)
        return reply


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    elog: ElogServer

    def do_GET(self) -> None:
        self._respond({})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAXIMUM_BODY_BYTES:
            self._send(413, "<html>Request Entity Too Large</html>")
            return
        try:
            body = json.loads(self.rfile.read(length) or b"{}")
        except ValueError:
            body = None
        if isinstance(body, dict):
            self._respond(body)
        else:
            self._send(400, "<html>Bad Request</html>")

    def _respond(self, body: dict[str, Any]) -> None:
        try:
            value = self.elog.reply(self.path, body).value
        except NoSuchPageError as error:
            self._send(404, f"<html>{error.problem}</html>")
        except BadInputError as error:
            self._send(200, json.dumps({"success": False, "errormsg": error.problem}))
        else:
            self._send(200, json.dumps({"success": True, "value": value}))

    def _send(self, status: int, text: str) -> None:
        payload = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        logger.debug(format, *args)


def serve(
    bootstrap: str, experiment: str, instrument: str, port: int, *, on_ready: Callable[[str], None]
) -> None:
    """Run an Elog with one experiment until SIGTERM or SIGINT."""
    stop = StopFlag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    book = ElogBook()
    book.register_experiment(experiment, instrument)
    server = ElogServer(book, KafkaPublisher(bootstrap), port=port)
    server.start()
    try:
        on_ready(server.url)
        stop.wait(math.inf)
    finally:
        server.close()
