"""As much of Airflow's REST interface as starting DAG runs needs, over real HTTP.

The answers are those of Airflow 3.3.2: 201 with a token, 401 without one, 404 for an unknown DAG,
409 for a run that exists, 422 for a body without ``logical_date``.
"""

from __future__ import annotations

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class AirflowRest:
    """Use as a context manager; `runs` are the DAG runs that were created, by id."""

    def __init__(self, *, dags: tuple[str, ...] = ("lclstream_transfer",)) -> None:
        self.dags = dags
        self.password = secrets.token_hex(4)
        self.runs: dict[str, dict[str, Any]] = {}
        self.statuses: list[int] = []
        """Every status given to a request for a DAG run."""
        self.faults: list[int | str] = []
        """Taken one per request: a status to answer, or ``hang up``."""
        self.tokens: set[str] = set()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"airflow": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> AirflowRest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def login(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if body.get("password") != self.password:
            return 401, {"detail": "Invalid credentials"}
        token = secrets.token_hex(8)
        self.tokens.add(token)
        return 201, {"access_token": token}

    def create(self, dag_id: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            if dag_id not in self.dags:
                return 404, {"detail": f"DAG with dag_id: '{dag_id}' not found"}
            if "logical_date" not in body:
                return 422, {"detail": "logical_date Field required"}
            run_id = body["dag_run_id"]
            if run_id in self.runs:
                return 409, {"detail": "Unique constraint violation"}
            self.runs[run_id] = body
            return 200, {"dag_run_id": run_id, "state": "queued"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    airflow: AirflowRest

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/auth/token":
            self._send(*self.airflow.login(body))
            return
        fault = self.airflow.faults.pop(0) if self.airflow.faults else None
        if fault == "hang up":
            self.close_connection = True
            self.connection.close()
        elif isinstance(fault, int):
            self._answer(fault, {"detail": "made to fail"})
        elif self.headers.get("Authorization", "")[7:] not in self.airflow.tokens:
            self._answer(401, {"detail": "Not authenticated"})
        else:
            self._answer(*self.airflow.create(self.path.split("/")[4], body))

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        self.airflow.statuses.append(status)
        self._send(status, document)

    def _send(self, status: int, document: dict[str, Any]) -> None:
        payload = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args: Any) -> None:
        pass
