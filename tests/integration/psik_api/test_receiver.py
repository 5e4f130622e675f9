"""A receiver of callbacks, a process of its own: down for long, or killed again and again."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import callback_receiver
import httpx2
import pytest

from airflow_provider_lclstream.psik.callbacks.signing import signed_headers
from airflow_provider_lclstream.psik.callbacks.start import watched

DOWN_SECONDS = float(os.environ.get("LCLSTREAM_RECEIVER_DOWN_SECONDS", "3"))
"""Acceptance sets 120."""
JOBS, KILL_SHARE = 12, 0.4
SECRET = "s3cr3t"
STATES = ["queued", "active", "completed"]


class ReceiverProcess:
    """Starts the receiver on one port, as often as is needed."""

    def __init__(self, processes: Any, wait_for: Any, port: int, journal: Path) -> None:
        self._processes, self._wait_for = processes, wait_for
        self.port, self.journal = port, journal
        self.url = f"http://127.0.0.1:{port}/cb"
        self.running: Any = None

    def start(self, kill_share: float = 0.0) -> None:
        program = callback_receiver.__file__
        words = [sys.executable, program, str(self.port), self.journal, SECRET, str(kill_share)]
        self.running = self._processes.start(words)
        self._wait_for(lambda: "listening" in self.running.stdout)

    def kill(self) -> None:
        os.kill(self.running.process.pid, signal.SIGKILL)
        self.running.process.wait(10)

    def states(self) -> dict[str, list[str]]:
        """What it has accepted of each job."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for row in callback_receiver.journal_rows(self.journal):
            found[row["jobid"]].append(row["state"])
        return dict(found)


@pytest.fixture
def receiver(processes: Any, wait_for: Any, free_port: Any, tmp_path: Path) -> ReceiverProcess:
    return ReceiverProcess(processes, wait_for, free_port(), tmp_path / "journal")


@pytest.fixture
def submitted(
    serve: Callable[..., Any], receiver: ReceiverProcess
) -> Iterator[tuple[Any, list[str]]]:
    """A service, and jobs whose states are to be told to the receiver."""
    served = serve()
    spec = {"script": "true", "callback": receiver.url, "cb_secret": SECRET}
    with served.client() as http:
        ids = [http.post("/v4/jobs", json=spec).json()["jobid"] for _ in range(JOBS)]
        yield served, ids


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_receiver_that_was_down(
    submitted: tuple[Any, list[str]], receiver: ReceiverProcess, wait_for: Any, figure: Any
) -> None:
    served, ids = submitted
    time.sleep(DOWN_SECONDS)
    with served.client() as http:
        for jobid in ids:
            wait_for(lambda j=jobid: http.get(f"/v4/jobs/{j}").json()["state"] == "completed")
    receiver.start()
    began = time.monotonic()
    _forge(receiver, ids)
    wait_for(lambda: _all_told(receiver), timeout_seconds=90, what="every state of every job")
    figure("seconds_a_receiver_was_down", DOWN_SECONDS)
    figure("seconds_from_its_return_to_the_last_state", time.monotonic() - began)
    _forge(receiver, ids)
    wait_for(lambda: not watched(served.prefix), what="nothing is left to tell")
    assert receiver.states() == dict.fromkeys(ids, STATES)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_receiver_killed_between_what_it_is_sent_and_its_answer(
    submitted: tuple[Any, list[str]], receiver: ReceiverProcess, wait_for: Any, figure: Any
) -> None:
    served, ids = submitted
    over, kills = threading.Event(), [0]
    receiver.start(KILL_SHARE)

    def start_again() -> None:
        while not over.wait(0.02):
            if receiver.running.process.poll() is not None:
                kills[0] += receiver.running.process.returncode == -signal.SIGKILL
                receiver.start(KILL_SHARE)

    supervisor = threading.Thread(target=start_again)
    supervisor.start()
    try:
        wait_for(lambda: _all_told(receiver), timeout_seconds=200, what="every state of every job")
        wait_for(lambda: not watched(served.prefix), timeout_seconds=60)
    finally:
        over.set()
        supervisor.join(60)
    figure("kills_of_the_receiver", kills[0])
    assert kills[0] >= 3
    assert receiver.states() == dict.fromkeys(ids, STATES)


def _all_told(receiver: ReceiverProcess) -> bool:
    states = receiver.states()
    return len(states) == JOBS and all(len(each) == len(STATES) for each in states.values())


def _forge(receiver: ReceiverProcess, ids: list[str]) -> None:
    """What an attacker can send: nothing of it may be accepted."""
    body = f'{{"jobid":"{ids[0]}","jobndx":1,"state":"failed","info":""}}'.encode()
    now, identity = int(time.time()), f"{ids[0]}/9"
    attempts = [
        ({}, body, 403),
        (signed_headers("**********", identity, now, body), body, 403),
        (signed_headers(SECRET, identity, now - 3600, body), body, 403),
        (signed_headers(SECRET, identity, now, b"{}"), body, 403),
    ]
    for row in callback_receiver.journal_rows(receiver.journal)[:3]:
        captured = {k: v for k, v in row["headers"].items() if k.lower() != "content-length"}
        attempts.append((captured, row["body"].encode(), 200))  # answered, but not accepted again
        attempts.append((captured, row["body"].replace("queued", "failed").encode() + b" ", 403))
    with httpx2.Client(trust_env=False, timeout=10) as http:
        for headers, content, status in attempts:
            assert http.post(receiver.url, headers=headers, content=content).status_code == status
