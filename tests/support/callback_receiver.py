"""A receiver of callbacks as a program: ``callback_receiver.py PORT JOURNAL SECRET [KILL_SHARE]``.

What it accepts it writes to its journal before it answers, and it reads its journal when it starts,
so that it accepts each callback once, however often it is killed. With KILL_SHARE it kills itself
with SIGKILL in that share of requests, between what it was sent and what it answers: half of these
times before it noted the callback, half after.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from airflow_provider_lclstream.psik.callbacks.verifier import (
    CallbackVerifier,
    ForgedCallbackError,
    RepeatedCallbackError,
)


def journal_rows(path: Path) -> list[dict[str, Any]]:
    """What a receiver has accepted, in order; a line that a kill cut short was not."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


class Receiver:
    """The journal, and what to do with a request."""

    def __init__(self, journal: Path, secret: str, kill_share: float) -> None:
        rows = journal_rows(journal)
        journal.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.journal, self.kill_share = journal, kill_share
        self.verifier = CallbackVerifier(secret, accepted=[row["id"] for row in rows])

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Verify and note a callback; gives the status to answer."""
        chance = random.random() / self.kill_share if self.kill_share else 2.0
        if chance < 0.5:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            callback = self.verifier.verify(headers, body)
        except ForgedCallbackError:
            return 403
        except RepeatedCallbackError:
            return 200
        row = {"id": {k.lower(): v for k, v in headers.items()}["webhook-id"],
               "jobid": callback.jobid, "state": str(callback.state),
               "headers": headers, "body": body.decode()}  # fmt: skip
        with self.journal.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        if chance < 1.0:
            os.kill(os.getpid(), signal.SIGKILL)
        return 200


def main(argv: list[str]) -> None:
    """Serve until killed."""
    share = float(argv[3]) if len(argv) > 3 else 0.0
    receiver = Receiver(Path(argv[1]), argv[2], share)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(receiver.take(dict(self.headers.items()), body))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", int(argv[0])), Handler)
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
