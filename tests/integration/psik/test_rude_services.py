"""A service that answers with anything at all: its jobs wait, those of other backends do not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.layout import JobFolder, write_json
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, JobState
from airflow_provider_lclstream.psik.reconciler import reconcile
from airflow_provider_lclstream.psik.state_log import StateLog
from airflow_provider_lclstream.psik.store import JobStore


class Rude(BaseHTTPRequestHandler):
    """Answers everything alike."""

    answer = b""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    do_POST = do_DELETE = do_GET

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(
    params=[b"<html>Please log in</html>", b"[" * 5000, b'["?"]', b"null", b'[{"jobid": 1}]'],
    ids=["login", "deep", "texts", "null", "other"],
)
def rude_service(request: pytest.FixtureRequest) -> Iterator[str]:
    """Its URL."""
    handler = type("Handler", (Rude,), {"answer": request.param})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("dialect", ["v3", "v4"])
def test_other_backends_go_on(rude_service: str, dialect: str, tmp_path: Path) -> None:
    settings = {"remote_url": rude_service, "dialect": dialect}
    backends = {
        "away": BackendConfig(type="psik", attributes=settings),
        "default": BackendConfig(attributes={"slots": "1"}),
    }
    store = JobStore(tmp_path / "jobs", backends)
    away = store.create(JobSpec(script="true", backend="away"))
    # As if it had been taken while the service was well.
    StateLog(away.folder / "status.csv").append(1, JobState.queued)
    write_json(
        JobFolder(away.folder).native(1),
        {"native_id": "1795206817.829" if dialect == "v4" else "v3/1795206817.829"},
    )
    here = store.create(JobSpec(script="true"))
    here.submit()
    for _ in range(200):
        reconcile(store.jobs())
        if here.state().is_final:
            break
        time.sleep(0.02)
    assert here.state() is JobState.completed
    assert away.state() is JobState.queued


def test_a_foreign_backends_mistake_is_told(
    store: JobStore, monkeypatch: pytest.MonkeyPatch, submit: Callable[..., Any]
) -> None:
    job = submit(store, "sleep 600")
    kind = type(store.backend("default")._backend)  # type: ignore[attr-defined]

    def mistaken(*_: Any) -> None:
        raise KeyError("id")

    with monkeypatch.context() as patch:
        patch.setattr(kind, "observe", mistaken)
        (problem,) = reconcile([job]).problems
    assert "asking about jobs on backend 'default' failed: KeyError: 'id'" in problem
    assert job.pending_attempt() is not None
