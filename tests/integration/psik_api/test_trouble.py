"""A service in trouble says what is wrong, loses nothing, and is well again by itself."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.backends.guarded import MAX_SUBMITTING

Serve = Callable[..., Any]
SLEEPER = {"script": "sleep 600"}


def _post(http: Any, key: str | None = None, **spec: Any) -> Any:
    headers = {"idempotency-key": key} if key else {}
    return http.post("/v4/jobs", json={**SLEEPER, **spec}, headers=headers)


@pytest.mark.parametrize("is_mount_point", [True, False])
def test_a_folder_of_jobs_that_is_away(
    serve: Serve, wait_for: Callable[..., Any], is_mount_point: bool
) -> None:
    service = serve(reconcile_seconds=0.2)
    away = service.prefix.with_name("away")
    with service.client() as http:
        jobid = _post(http).json()["jobid"]
        service.prefix.rename(away)
        if is_mount_point:
            service.prefix.mkdir()
        for _ in range(2):
            for answer in (http.get(f"/v4/jobs/{jobid}"), http.get("/v4/jobs"), _post(http)):
                assert (answer.status_code, answer.json()["transient"]) == (503, True)
        wait_for(lambda: http.get("/healthz").status_code == 503, what="the trouble to be told")
        if is_mount_point:
            service.prefix.rmdir()
        away.rename(service.prefix)
        wait_for(lambda: http.get("/healthz").status_code == 200, what="the service to be well")
        assert [line["jobid"] for line in http.get("/v4/jobs").json()["jobs"]] == [jobid]
        http.delete(f"/v4/jobs/{jobid}")
        wait_for(lambda: http.get(f"/v4/jobs/{jobid}").json()["state"] == "canceled")


def test_a_scheduler_that_hangs_keeps_nobody_else(
    serve: Serve,
    wait_for: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = tmp_path / "gate"
    for name in ("sbatch", "squeue", "sacct", "scancel"):
        (tmp_path / name).write_text(f"#!/bin/sh\nexec flock --shared {gate} true\n")
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    service = serve(backends={"default": {}, "slurm": {"type": "slurm"}})

    def submit(_: int) -> Any:
        with service.client() as http:
            return _post(http, backend="slurm").json()

    with ThreadPoolExecutor(60) as pool:
        with gate.open("w") as hanging:
            fcntl.flock(hanging, fcntl.LOCK_EX)
            submitted = [pool.submit(submit, number) for number in range(60)]
            with service.client() as http:
                assert http.get("/healthz").status_code == 200
                assert _post(http, script="true").status_code == 201
            wait_for(lambda: sum(job.done() for job in submitted) == 60 - MAX_SUBMITTING)
            with service.client() as http:
                assert _post(http, script="true").status_code == 201
            assert sum(job.done() for job in submitted) == 60 - MAX_SUBMITTING
        assert {job.result()["state"] for job in submitted} == {"queued"}
    service.running.stop()
    for job in submitted:
        shutil.rmtree(service.prefix / job.result()["jobid"])


def test_a_damaged_outbox_is_told(serve: Serve, wait_for: Callable[..., Any]) -> None:
    service = serve()
    with service.client() as http:
        outbox = service.prefix / ".psik" / "outbox.sqlite"
        # Its last table is there: what is written before would be written over.
        wait_for(lambda: outbox.exists() and b"TABLE events" in outbox.read_bytes())
        with outbox.open("r+b") as damaged:  # not truncated first: an empty file is a new outbox
            damaged.write(b"garbage" * 1000)
        wait_for(lambda: http.get("/healthz").status_code == 503)
        assert "file is not a database" in http.get("/healthz").json()["problems"]["courier"]
        assert http.get("/metrics").status_code == 200


def test_a_repetition_is_answered_at_the_bound(serve: Serve) -> None:
    service = serve(policy={"rules": [{"who": ["*"], "max_unfinished": 1}]})
    with service.client() as http:
        first = _post(http, "once")
        again = _post(http, "once")
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["jobid"] == again.json()["jobid"]
        assert _post(http, "twice").status_code == 403


def test_many_at_once_stay_within_the_bound(serve: Serve) -> None:
    service = serve(policy={"rules": [{"who": ["*"], "max_unfinished": 3}]})
    start = threading.Barrier(20)

    def submit(_: int) -> int:
        with service.client() as http:
            start.wait()
            return _post(http).status_code

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(submit, range(20)))
    assert sorted(answers) == [201] * 3 + [403] * 17


def test_a_list_goes_on_after_a_job_that_was_removed(serve: Serve) -> None:
    with serve().client() as http:
        made = [http.post("/v4/jobs?submit=false", json=SLEEPER).json()["jobid"] for _ in range(5)]
        page = http.get("/v4/jobs", params={"limit": 2}).json()
        http.delete(f"/v4/jobs/{page['next']}")
        assert http.delete(f"/v4/jobs/{page['next']}/folder").status_code == 204
        rest = http.get("/v4/jobs", params={"before": page["next"]}).json()
        assert [line["jobid"] for line in rest["jobs"]] == sorted(made[:3], reverse=True)


def test_what_is_no_text_is_refused_and_a_refusal_repeats_nothing(serve: Serve) -> None:
    as_json = {"content-type": "application/json"}
    with serve().client() as http:
        answer = http.post("/v4/jobs", content=rb'{"script": "\ud800"}', headers=as_json)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "script"]
        answer = _post(http, cb_secret="TOP SECRET", bogus=1)
        assert answer.status_code == 422
        assert "TOP SECRET" not in answer.text


def test_what_a_callback_is_sent_with_is_nobodys_business(serve: Serve) -> None:
    header = {"authorization": "Bearer TOP-SECRET"}
    with serve().client() as http:
        spec = {"callback": "http://127.0.0.1:9/", "cb_headers": header, "cb_secret": "TOP-SECRET"}
        jobid = _post(http, **spec).json()["jobid"]
        for path in ("", "/spec"):
            assert "TOP-SECRET" not in http.get(f"/v4/jobs/{jobid}{path}").text
        listing = json.dumps(http.get("/v4/jobs").json()) + json.dumps(http.get("/v3/jobs").json())
        assert "TOP-SECRET" not in listing


def test_folders_without_end(serve: Serve) -> None:
    service = serve()
    with service.client() as http:
        jobid = http.post("/v4/jobs?submit=false", json=SLEEPER).json()["jobid"]
        work = service.prefix / jobid / "work"
        try:
            _nest(work, 1200)
            (work / "a" / "result").write_text("42")
            listing = http.get(f"/v4/jobs/{jobid}/files").json()
            assert listing["a"]["children"]["result"]["size"] == 2
            tar = http.get(f"/v4/jobs/{jobid}/results.tar")
            assert tar.status_code == 200
            assert b"work/a/result" in tar.content
            http.delete(f"/v4/jobs/{jobid}")
            assert http.delete(f"/v4/jobs/{jobid}/folder").status_code == 204
            assert not list((service.prefix / ".psik").glob("removed-*"))
        finally:
            # Python, and so pytest, could not.
            subprocess.run(["rm", "-rf", service.prefix], check=True)


def _nest(folder: Path, depth: int) -> None:
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("a", dir_fd=here)
        inner = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_a_reason_commands_no_terminal(serve: Serve, wait_for: Callable[..., Any]) -> None:
    with serve().client() as http:
        jobid = _post(http).json()["jobid"]
        http.delete(f"/v4/jobs/{jobid}", params={"reason": "\x1b]0;owned\x07\x9b31m red"})
        wait_for(lambda: http.get(f"/v4/jobs/{jobid}").json()["state"] == "canceled")
        assert http.get(f"/v4/jobs/{jobid}").json()["info"].isprintable()
