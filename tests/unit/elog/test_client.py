"""The REST client copes with the Elog's prose under a JSON content type."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_provider_lclstream.elog.client import ElogClient
from lclstreamer.core.errors import (
    BadInputError,
    PermissionDeniedError,
    TemporaryError,
    UnavailableError,
)


@pytest.fixture
def elog():
    """``elog(status, text)``: the URL of a logbook that always answers this."""
    servers = []

    def start(status: int, text: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}/ws/lgbk/"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join(5)


def good(value) -> str:
    return json.dumps({"success": True, "value": value})


def test_values_are_unpacked(elog):
    with ElogClient(elog(200, good([{"num": 2}, {"num": 1}]))) as client:
        assert [run["num"] for run in client.runs("x")] == [2, 1]


@pytest.mark.parametrize(
    ("status", "text", "error", "words"),
    [
        (500, "<html><h1>Internal Server Error</h1></html>", TemporaryError, "Internal Server"),
        (404, "<html>Not Found</html>", BadInputError, "Not Found"),
        (403, "<html>Forbidden</html>", PermissionDeniedError, "Forbidden"),
        (200, '{"success": false, "errormsg": "no such run"}', BadInputError, "no such run"),
        (200, good({"not": "a list"}), BadInputError, "dict where a list of runs"),
        (200, "not json", BadInputError, "not json"),
    ],
)
def test_failures_carry_the_elogs_words(elog, status, text, error, words):
    with ElogClient(elog(status, text)) as client, pytest.raises(error, match=words) as caught:
        client.runs("x")
    assert caught.value.mend


@pytest.mark.parametrize("answer", [(500, "<html/>"), (200, '{"success": false}'), (404, "x")])
def test_no_current_run_and_standby_are_no_errors(elog, answer):
    with ElogClient(elog(*answer)) as client:
        assert client.current_run("x") is None
        assert client.active_experiment("MFX") is None


def test_nobody_there(free_port):
    url = f"http://127.0.0.1:{free_port()}"
    with ElogClient(url) as client, pytest.raises(UnavailableError, match="does not answer"):
        client.runs("x")
