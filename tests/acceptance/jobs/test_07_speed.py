"""Issue 4, line 7: how quick it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from airflow_provider_lclstream.sim.ended_jobs import fill

LISTED, SUBMITTED, CLIENTS = 10_000, 200, 8


@pytest.mark.timeout(400)
def test_listing_and_submitting(
    processes: Any, tmp_path: Path, wait_for: Any, figure: Callable[[str, Any], None]
) -> None:
    config, prefix = tmp_path / "psik.json", tmp_path / "jobs"
    policy = {"rules": [{"who": ["*"], "max_unfinished": 100_000}]}
    backends = {"default": {"attributes": {"slots": "1"}}}
    config.write_text(json.dumps({"prefix": str(prefix), "backends": backends, "policy": policy}))
    fill(prefix, LISTED, owner="alice")
    running = processes.start(
        ["lclstream", "psik", "serve", "http://127.0.0.1:0", "--config", config,
         "--loopback-caller", "alice"]
    )  # fmt: skip
    wait_for(lambda: "listening" in running.stdout, timeout_seconds=60)
    url = json.loads(running.stdout.splitlines()[0])["listening"]
    with httpx2.Client(base_url=url, timeout=60, trust_env=False) as http:
        wait_for(lambda: http.get("/healthz").status_code == 200, timeout_seconds=60)
        best = 60.0
        for _ in range(5):
            began = time.monotonic()
            answer = http.get("/v4/jobs", params={"limit": LISTED})
            best = min(best, time.monotonic() - began)
            assert len(answer.json()["jobs"]) == LISTED
        figure("milliseconds_to_list_10000_jobs", best * 1000)

        def submit(_: int) -> None:
            with httpx2.Client(base_url=url, timeout=60, trust_env=False) as own:
                for _ in range(SUBMITTED // CLIENTS):
                    assert own.post("/v4/jobs", json={"script": "true"}).status_code == 201

        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(submit, range(CLIENTS)))
        rate = SUBMITTED / (time.monotonic() - began)
        figure("submissions_per_second", rate)
        for job in http.get("/v4/jobs", params={"state": "queued", "limit": 10_000}).json()["jobs"]:
            http.delete(f"/v4/jobs/{job['jobid']}")
        pending = {"state": ["queued", "active"]}
        wait_for(
            lambda: not http.get("/v4/jobs", params=pending).json()["jobs"], timeout_seconds=60
        )
    assert best <= 0.2
    assert rate >= 50


@pytest.mark.repeats
@pytest.mark.timeout(200)
def test_waking_and_reached(passes: Callable[..., str]) -> None:
    passes(
        "tests/integration/psik_api/test_v4.py::test_long_poll_wakes_at_once",
        "tests/integration/psik/test_cli.py::test_reached_costs_little",
    )
