"""Where log lines go without anybody waiting: a bounded queue and a thread that empties it."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pydantic import SecretStr

from lclstreamer.core.config_file import load_model
from lclstreamer.core.errors import ConfigurationError
from lclstreamer.parameters.base import StrictModel
from lclstreamer.transport.tls_files import require_private

logger = logging.getLogger(__name__)

QUEUE_LINES = 10_000
BATCH_LINES = 500
REPORT_SECONDS = 60.0
POST_TIMEOUT_SECONDS = 5.0


class LogSink:
    """Takes lines at once or drops them; a thread of its own delivers them in batches."""

    def __init__(
        self, name: str, deliver: Callable[[list[str]], None], *, limit_lines: int = QUEUE_LINES
    ) -> None:
        self.name = name
        self.dropped = 0
        self._deliver = deliver
        self._queue: queue.Queue[str | None] = queue.Queue(limit_lines)
        self._reported = (0, time.monotonic())
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"log sink {name}", daemon=True)
        self._thread.start()

    def offer(self, line: str) -> bool:
        """Take a line for delivery; False if the queue is full and the line is dropped."""
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Deliver what is queued, for a bounded time, and stop."""
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if batch:
                try:
                    self._deliver(batch)
                except OSError as error:
                    self.dropped += len(batch)
                    logger.debug("log lines not delivered: %s", error)
            self._report()
            if self._closing.is_set() and self._queue.empty():
                return

    def _next_batch(self) -> list[str]:
        batch: list[str] = []
        with contextlib.suppress(queue.Empty):
            line = self._queue.get(timeout=0.5)
            while line is not None:
                batch.append(line)
                if len(batch) == BATCH_LINES:
                    break
                line = self._queue.get_nowait()
        return batch

    def _report(self) -> None:
        count, moment = self._reported
        if self.dropped > count and time.monotonic() - moment > REPORT_SECONDS:
            logger.warning("log lines dropped", extra={"sink": self.name, "lines": self.dropped})
            self._reported = (self.dropped, time.monotonic())


def stream_sink(stream: IO[str]) -> LogSink:
    """Lines on a text stream, e.g. standard output."""

    def deliver(lines: list[str]) -> None:
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()

    return LogSink("stream", deliver)


class LokiSettings(StrictModel):
    """Where Grafana Loki listens: upstream's ``loki.json``."""

    url: str
    """The push URL, e.g. ``https://loki.example.org/loki/api/v1/push``."""
    user: str = ""
    """The user name; empty for none."""
    passwd: SecretStr = SecretStr("")
    """The password."""


def loki_sink(path: Path, application: str) -> LogSink:
    """Lines to Grafana Loki, as upstream sends them.

    Raises:
        ConfigurationError: the file is wrong, or its URL is not http or https.
        PermissionDeniedError: others can read the file, which holds a password.
    """
    require_private(path)
    settings = load_model(path, LokiSettings)
    if not settings.url.startswith(("http://", "https://")):
        raise ConfigurationError(
            f"{settings.url!r} is not the URL of Loki", mend="write http:// or https://"
        )
    import httpx2

    secret = settings.passwd.get_secret_value()
    client = httpx2.Client(
        auth=(settings.user, secret) if settings.user else None,
        timeout=POST_TIMEOUT_SECONDS,
        trust_env=False,
    )
    labels = {"application": application, "severity": "info", "logger": "certified.access"}

    def deliver(lines: list[str]) -> None:
        now = time.time_ns()
        values = [[str(now + index), line] for index, line in enumerate(lines)]
        body = json.dumps({"streams": [{"stream": labels, "values": values}]})
        try:
            reply = client.post(
                settings.url, content=body, headers={"Content-Type": "application/json"}
            )
        except httpx2.HTTPError as error:
            raise ConnectionError(str(error)) from None
        if reply.status_code >= 300:
            raise ConnectionError(f"Loki answered {reply.status_code}")

    return LogSink("loki", deliver)
