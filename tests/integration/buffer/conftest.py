"""A buffer in a process of its own, with producers and consumers in theirs."""

from __future__ import annotations

import json
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PEERS = Path(__file__).with_name("peers.py")


@dataclass
class RunningBuffer:
    """A buffer that a test started."""

    running: Any
    folder: Path
    endpoints: dict[str, Any] = field(default_factory=dict)

    def inlet(self, protocol="nng"):
        return self.endpoints["inlets"][protocol]

    def outlet(self, protocol="nng"):
        return self.endpoints["outlets"][protocol]

    def status(self):
        with urllib.request.urlopen(self.endpoints["admin"] + "/status", timeout=10) as answer:
            return json.load(answer)

    def drain(self):
        request = urllib.request.Request(self.endpoints["admin"] + "/drain", method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status

    def end(self, timeout_seconds=30):
        """Its exit code and its ledger."""
        code = self.running.wait(timeout_seconds)
        return code, json.loads((self.folder / "ledger.json").read_text())


@pytest.fixture
def buffer(processes, tmp_path, venv_bin, wait_for):
    """``buffer("--expected-producers", 2)`` starts one and waits until it can be reached."""

    def start(*options):
        folder = tmp_path / f"buffer{len(list(tmp_path.glob('buffer*')))}"
        words = [venv_bin / "nng-stream", "run", "--directory", folder, *map(str, options)]
        started = RunningBuffer(processes.start(words), folder)

        def is_ready():
            assert started.running.process.poll() is None, started.running.stderr
            return (folder / "endpoints.json").exists()

        wait_for(is_ready, what="endpoints.json")
        started.endpoints = json.loads((folder / "endpoints.json").read_text())
        return started

    return start


@pytest.fixture
def peer(processes):
    """``peer("produce", url, count, size)`` starts a producer or consumer; see peers.py."""

    def start(role, url, *more):
        return processes.start([sys.executable, PEERS, role, url, *map(str, more)])

    return start


@pytest.fixture
def taken_by():
    """``taken_by(consumer, …)``: the names of the messages that consumers printed."""

    def taken(*consumers):
        lines = [line for consumer in consumers for line in consumer.stdout.splitlines()]
        return [line for line in lines if line != "begun" and not line.startswith("end ")]

    return taken


@pytest.fixture
def expected_of():
    """``expected_of(names, count)``: the names of all messages of these producers, sorted."""

    def expected(names, count):
        return sorted(f"{name}:{number}" for name in names for number in range(count))

    return expected
