"""A real service, on loopback, in a process of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from airflow_provider_lclstream.psik.store import JobStore


@dataclass
class Served:
    """A running service.

    Attributes:
        url: where it listens.
        prefix: where its jobs lie.
        config: its configuration file.
        running: its process.
    """

    url: str
    prefix: Path
    config: Path
    running: Any

    def client(self, **options: Any) -> httpx2.Client:
        """A client of it; close it, or use it as a context manager."""
        return httpx2.Client(base_url=self.url, timeout=30, trust_env=False, **options)


@pytest.fixture
def serve(processes: Any, tmp_path: Path, wait_for: Any) -> Iterator[Callable[..., Served]]:
    """``serve(policy={...})``: start a service for one test; its jobs end with it."""
    prefixes: list[Path] = []

    def start(caller: str = "alice", url: str = "http://127.0.0.1:0", **settings: Any) -> Served:
        prefix = tmp_path / "jobs"
        prefixes.append(prefix)
        config = tmp_path / "psik.json"
        backends = {"default": {"attributes": {"grace_seconds": "2"}}}
        config.write_text(json.dumps({"prefix": str(prefix), "backends": backends, **settings}))
        words = ["lclstream", "psik", "serve", url, "--config", config, "--loopback-caller", caller]
        running = processes.start(words)

        def listening() -> str | None:
            assert running.process.poll() is None, running.stderr
            lines = [line for line in running.stdout.splitlines() if "listening" in line]
            return json.loads(lines[0])["listening"] if lines else None

        address = wait_for(listening, timeout_seconds=30, what="the service listens")
        return Served(address, prefix, config, running)

    yield start
    for prefix in set(prefixes):
        _end_jobs(JobStore(prefix))


def _end_jobs(store: JobStore) -> None:
    deadline = time.monotonic() + 30
    jobs = [job for job in store.jobs() if job.pending_attempt() is not None]
    for job in jobs:
        job.cancel("the test is over")
    while any(not job.reconcile().is_final for job in jobs):
        assert time.monotonic() < deadline, "a job outlives its test"
        time.sleep(0.05)
