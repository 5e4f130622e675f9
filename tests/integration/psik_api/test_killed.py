"""The service killed with SIGKILL at random: no job lost, none run twice, none misstated."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from airflow_provider_lclstream.psik.reconciler import reconcile
from airflow_provider_lclstream.psik.store import JobStore

JOBS = int(os.environ.get("LCLSTREAM_KILLED_JOBS", "60"))
KILLS = int(os.environ.get("LCLSTREAM_KILLS", "8"))
"""Acceptance sets 200 and 30."""


class Service:
    """A service that is started again on the same port whenever it was killed."""

    def __init__(self, processes: Any, config: Path, port: int) -> None:
        self._processes, self._config = processes, config
        self.url = f"http://127.0.0.1:{port}"
        self.running: Any = None

    def start(self) -> None:
        words = ["lclstream", "psik", "serve", self.url, "--config", self._config]
        self.running = self._processes.start([*words, "--loopback-caller", "alice"])

    def kill(self) -> None:
        os.kill(self.running.process.pid, signal.SIGKILL)
        self.running.process.wait(10)


def _submit(url: str, number: int, counts: Path) -> str:
    """Post one job until it is answered; the key makes repetitions harmless."""
    spec = {"name": f"job{number}", "script": f"echo run >> {counts}/{number}; exit {number % 3}"}
    headers = {"idempotency-key": f"job{number}"}
    deadline = time.monotonic() + 90
    while True:
        try:
            with httpx2.Client(timeout=10, trust_env=False) as http:
                answer = http.post(f"{url}/v4/jobs", json=spec, headers=headers)
            if answer.status_code in {200, 201}:
                return answer.json()["jobid"]
        except httpx2.HTTPError:
            assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kills_lose_nothing(processes: Any, tmp_path: Path, free_port: Any, figure: Any) -> None:
    jobs, kills = JOBS, KILLS
    counts, config = tmp_path / "counts", tmp_path / "psik.json"
    counts.mkdir()
    backends = {"default": {"attributes": {"slots": "4"}}}
    config.write_text(json.dumps({"prefix": str(tmp_path / "jobs"), "backends": backends}))
    service = Service(processes, config, free_port())
    service.start()
    chance, over, killed = random.Random(4), threading.Event(), [0]

    def kill_now_and_then() -> None:
        while killed[0] < kills and not over.wait(chance.uniform(0.3, 2.5)):
            service.kill()
            killed[0] += 1
            service.start()

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    ids = [""] * jobs

    def client(first: int) -> None:
        for number in range(first, jobs, 4):
            ids[number] = _submit(service.url, number, counts)
            time.sleep(chance.uniform(0, kills * 1.2 / jobs * 4))

    clients = [threading.Thread(target=client, args=(first,)) for first in range(4)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(300)
    killer.join(120)
    over.set()
    store = JobStore(tmp_path / "jobs", None)
    deadline = time.monotonic() + 90
    while any(not job.state().is_final for job in store.jobs()):
        # Nobody helps: the service alone brings every job to its end.
        assert time.monotonic() < deadline, [job.history() for job in store.jobs()]
        time.sleep(0.2)
    figure("jobs_submitted_while_killed", jobs)
    figure("kills_of_the_service", killed[0])
    assert len(set(ids)) == jobs
    assert {job.jobid for job in store.jobs()} == set(ids)
    assert not reconcile(store.jobs()).problems
    for number, jobid in enumerate(ids):
        assert (counts / str(number)).read_text() == "run\n", store.get(jobid).history()
        states = [str(row.state) for row in store.get(jobid).history()]
        assert states == ["new", "queued", "active", "failed" if number % 3 else "completed"]
        assert store.get(jobid).last().info == f"exit code {number % 3}"
