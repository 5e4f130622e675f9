"""A receiver of callbacks: ``callback-receiver.py HOST:PORT SECRET_FILE ACCEPTED_FILE``.

It answers 200 only to what it has written down, so that nothing is lost if it is killed; the
sender repeats what was not answered, and what is repeated is not written twice.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from airflow_provider_lclstream.psik.callbacks.verifier import (
    CallbackVerifier,
    ForgedCallbackError,
    RepeatedCallbackError,
)

(host, _, port), accepted = sys.argv[1].partition(":"), Path(sys.argv[3])
secret = Path(sys.argv[2]).read_text().strip()
accepted.touch()
known = [line.split()[0] for line in accepted.read_text().splitlines()]
verifier = CallbackVerifier(secret, accepted=known)


class Handler(BaseHTTPRequestHandler):
    """Takes callbacks."""

    def do_POST(self) -> None:
        """Verify one and write it down."""
        body = self.rfile.read(int(self.headers["content-length"]))  # as it came, not parsed
        try:
            callback = verifier.verify(dict(self.headers.items()), body)
        except RepeatedCallbackError:
            self.answer(200)
        except ForgedCallbackError:
            self.answer(403)
        else:
            with accepted.open("a") as stream:
                stream.write(f"{self.headers['webhook-id']} {callback.jobid} {callback.state}\n")
                stream.flush()
                os.fsync(stream.fileno())
            self.answer(200)

    def answer(self, status: int) -> None:
        """Answer without a body."""
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()


if __name__ == "__main__":
    server = HTTPServer((host, int(port)), Handler)
    sys.stdout.write(f"listening on {sys.argv[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
