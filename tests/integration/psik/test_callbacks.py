"""Callbacks against receivers that are down, slow, rude or dying: every state arrives, in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.callbacks.clients import CallbackClients
from airflow_provider_lclstream.psik.callbacks.courier import Courier, CourierSettings
from airflow_provider_lclstream.psik.callbacks.start import courier_lock, watch, watched
from airflow_provider_lclstream.psik.callbacks.verifier import (
    CallbackVerifier,
    RepeatedCallbackError,
)
from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import JobSpec, JobState
from airflow_provider_lclstream.psik.state_log import try_lock
from airflow_provider_lclstream.psik.store import JobStore

STATES = ["queued", "active", "completed"]
SECRET = "s3cr3t"


@dataclass
class Receiver:
    """An HTTP server that answers as the test wants; keeps what it was sent."""

    port: int = 0
    behave: list[str] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    poured: int = 0
    server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        receiver, verifier = self, CallbackVerifier(SECRET)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = dict(self.headers.items())
                receiver.requests.append((headers, body))
                how = receiver.behave.pop(0) if receiver.behave else "ok"
                if how == "die-before":
                    return
                if how.startswith("slow"):
                    time.sleep(float(how.removeprefix("slow")))
                if how in {"ok", "die-after"} or how.startswith("slow"):
                    with contextlib.suppress(RepeatedCallbackError):
                        receiver.accepted.append(str(verifier.verify(headers, body).state))
                if how == "die-after":
                    return
                if how == "endless":
                    self.send_response(200)
                    self.end_headers()
                    with contextlib.suppress(OSError):
                        while True:
                            receiver.poured += self.wfile.write(bytes(2**16))
                    return
                self.send_response(int(how) if how.isdigit() else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/cb"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()


@pytest.fixture
def courier() -> Iterator[Callable[[JobStore], None]]:
    """Run a courier with short pauses in a thread, in place of the one that would be started."""
    running: list[tuple[threading.Event, threading.Thread]] = []

    def start(store: JobStore, **settings: float) -> None:
        stop, ready = threading.Event(), threading.Event()
        chosen = CourierSettings(
            **{"first_pause_seconds": 0.05, "longest_pause_seconds": 0.2, "timeout_seconds": 1.0,
               **settings}  # type: ignore[arg-type]
        )  # fmt: skip

        def work() -> None:
            with try_lock(courier_lock(store.prefix)) as is_ours:
                assert is_ours
                ready.set()
                courier = Courier(store, chosen, CallbackClients(None), stop)
                asyncio.run(courier.run(until_idle=False))

        thread = threading.Thread(target=work)
        thread.start()
        ready.wait(5)
        running.append((stop, thread))

    yield start
    for stop, _ in running:
        stop.set()
    for _, thread in running:
        thread.join(20)


def _job(store: JobStore, receiver: Receiver, script: str = "true", **more: Any) -> Job:
    spec = {"callback": receiver.url, "cb_secret": SECRET, "script": script, **more}
    job = store.create(JobSpec.model_validate(spec))
    job.submit()
    return job


@pytest.mark.parametrize(
    "behaviour",
    [
        [],
        ["500", "404", "302", "503"],
        ["die-before", "ok", "die-before"],
        ["die-after", "die-after", "die-after", "ok", "die-after"],
        ["slow1.5", "500", "die-after", "slow1.5"],
    ],
    ids=["well", "rude", "dies-before", "dies-after-it-took-it", "everything"],
)
def test_every_state_arrives_once_and_in_order(
    store: JobStore, receiver: Receiver, courier: Any, wait_for: Any, behaviour: list[str]
) -> None:
    receiver.behave = list(behaviour)
    courier(store)
    _job(store, receiver)
    wait_for(lambda: len(receiver.accepted) >= 3, what="three states")
    wait_for(lambda: not watched(store.prefix))
    assert receiver.accepted == STATES
    assert len(receiver.requests) >= 3 + len(behaviour) - behaviour.count("ok") - 3


def test_a_job_never_waits_for_its_receiver(
    store: JobStore, receiver: Receiver, courier: Any, reach: Any
) -> None:
    receiver.behave = ["slow15"]
    courier(store, timeout_seconds=30.0)
    job = _job(store, receiver)
    reach(job)
    assert (job.state(), receiver.accepted) == (JobState.completed, [])


def test_a_receiver_that_is_down_is_told_later_and_cancel_does_not_wait(
    store: JobStore, receiver: Receiver, courier: Any, reach: Any, wait_for: Any
) -> None:
    receiver.stop()
    courier(store)
    job = _job(store, receiver, "sleep 60")
    reach(job, "active")
    job.cancel()
    reach(job, timeout_seconds=5)
    assert job.state() is JobState.canceled
    wait_for(lambda: "is tried again: ConnectError" in job.log("console"))
    receiver.start()
    wait_for(lambda: len(receiver.accepted) >= 3)
    assert receiver.accepted == ["queued", "active", "canceled"]


def test_giving_up_is_noted_in_the_jobs_log(
    store: JobStore, receiver: Receiver, courier: Any, wait_for: Any
) -> None:
    receiver.stop()
    courier(store, give_up_seconds=0.3)
    job = _job(store, receiver)
    wait_for(lambda: job.log("console").count("given up") >= 3)
    wait_for(lambda: not watched(store.prefix))


def test_headers_are_the_jobs_and_the_proof_is_ours(
    store: JobStore, receiver: Receiver, courier: Any, wait_for: Any
) -> None:
    courier(store)
    job = _job(store, receiver, cb_headers={"X-Site": "S3DF", "Webhook-Id": "forged"})
    wait_for(lambda: len(receiver.accepted) >= 3)
    headers, body = receiver.requests[0]
    given = {name.lower(): value for name, value in headers.items()}
    assert given["x-site"] == "S3DF"
    assert given["webhook-id"] == f"{job.jobid}/1"
    assert given["content-type"] == "application/json"
    assert json.loads(body) == {"jobid": job.jobid, "jobndx": 1, "state": "queued", "info": ""}


def test_a_slow_host_does_not_hold_up_another(
    store: JobStore, receiver: Receiver, courier: Any, wait_for: Any
) -> None:
    slow = Receiver(behave=["slow2"] * 50)
    slow.start()
    try:
        courier(store, timeout_seconds=5.0)
        for _ in range(10):
            _job(store, slow)
        _job(store, receiver)
        wait_for(lambda: len(receiver.accepted) >= 3)
        assert len(slow.accepted) < 10 * len(STATES) / 2
    finally:
        slow.behave.clear()
        slow.stop()


def _courier_pids(prefix: Path) -> list[int]:
    found: list[int] = []
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0") if path.name.isdigit() else []
            if str(prefix).encode() in words and b"psik.callbacks.courier" in b" ".join(words):
                found.append(int(path.name))
    return found


def test_without_a_service_a_courier_is_started_and_a_killed_one_replaced(
    store: JobStore, receiver: Receiver, wait_for: Any, reach: Any
) -> None:
    job = _job(store, receiver, "sleep 60")
    wait_for(lambda: receiver.accepted[:2] == STATES[:2])
    [pid] = _courier_pids(store.prefix)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not _courier_pids(store.prefix))
    job.cancel()
    reach(job)
    wait_for(lambda: receiver.accepted == ["queued", "active", "canceled"])
    wait_for(lambda: not _courier_pids(store.prefix), what="the courier's end")
    assert watched(store.prefix) == []


def test_a_second_attempt_is_told_of_too(
    store: JobStore, receiver: Receiver, courier: Any, wait_for: Any, reach: Any
) -> None:
    courier(store)
    job = _job(store, receiver)
    wait_for(lambda: not watched(store.prefix))
    job.start()
    reach(job)
    wait_for(lambda: len(receiver.accepted) >= 6)
    assert receiver.accepted == STATES * 2


def test_a_removed_job_is_forgotten(
    store: JobStore, receiver: Receiver, courier: Any, wait_for: Any, reach: Any
) -> None:
    receiver.stop()
    courier(store)
    job = _job(store, receiver)
    reach(job)
    store.remove(job.jobid)
    wait_for(lambda: not watched(store.prefix))


def test_a_job_removed_while_its_callback_is_due_does_not_end_the_courier(
    store: JobStore, receiver: Receiver, reach: Any
) -> None:
    receiver.stop()
    job = _job(store, receiver)
    reach(job)

    async def remove_in_between() -> None:
        courier = Courier(store, CourierSettings(timeout_seconds=1), CallbackClients(None))
        async with courier.clients:
            courier._look()
            store.remove(job.jobid)
            due = courier._ready()
            assert due
            for event in due:
                await courier._deliver(event)
            courier._look()
        assert not courier._jobs
        courier._outbox.close()

    asyncio.run(remove_in_between())
    assert not watched(store.prefix)


def test_an_answer_without_end_is_not_read(
    store: JobStore, receiver: Receiver, courier: Callable[..., None], wait_for: Callable[..., Any]
) -> None:
    receiver.behave = ["endless"]
    job = store.create(JobSpec(script="true", callback=receiver.url, cb_secret=SECRET))
    courier(store, timeout_seconds=20.0)
    job.submit()
    wait_for(lambda: len(receiver.accepted) == 2, what="the states after it")
    assert receiver.poured < 2**24  # what fits into the sockets' buffers


def test_a_damaged_job_does_not_silence_the_others(
    store: JobStore, receiver: Receiver, courier: Callable[..., None], wait_for: Callable[..., Any]
) -> None:
    for old, new in (('"x": "a"', '"x": "\\u00e9"'), ("http://127", "http://[127")):
        # As another version may have taken them: a header and a URL that no client can send.
        damaged = store.create(JobSpec(script="true", callback=receiver.url, cb_headers={"x": "a"}))
        spec = damaged.folder / "spec.json"
        spec.write_text(spec.read_text().replace(old, new))
        watch(store.prefix, damaged.jobid)
    job = store.create(JobSpec(script="true", callback=receiver.url, cb_secret=SECRET))
    courier(store)
    job.submit()
    wait_for(lambda: receiver.accepted == STATES, what="the sound job's states")
