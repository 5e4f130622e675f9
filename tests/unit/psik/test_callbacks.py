"""Signatures, their verification, and the outbox."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.callbacks.clients import CallbackClients
from airflow_provider_lclstream.psik.callbacks.courier import Courier, CourierSettings
from airflow_provider_lclstream.psik.callbacks.outbox import Outbox
from airflow_provider_lclstream.psik.callbacks.signing import (
    callback_body,
    event_id,
    signature,
    signed_headers,
    upstream_signature,
)
from airflow_provider_lclstream.psik.callbacks.start import watch, watched
from airflow_provider_lclstream.psik.callbacks.verifier import (
    CallbackVerifier,
    ForgedCallbackError,
    RepeatedCallbackError,
)
from airflow_provider_lclstream.psik.models import Callback, JobSpec, JobState, Transition
from airflow_provider_lclstream.psik.state_log import StateLog
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import BadInputError

ROW = Transition(1795206817.8, 1, JobState.failed, "exit code 3")
BODY = callback_body("1795206817.829", ROW)
NOW = 1_795_206_820


def _openssl(key: str, message: bytes, *words: str) -> bytes:
    command = ["openssl", "dgst", "-sha256", "-hmac", key, *words]
    return subprocess.run(command, input=message, capture_output=True, check=True).stdout


def test_the_body_is_upstreams() -> None:
    assert BODY == b'{"jobid":"1795206817.829","jobndx":1,"state":"failed","info":"exit code 3"}'


def test_signatures_agree_with_openssl() -> None:
    printed = _openssl("s3cr3t", BODY).decode().split("= ")[1].strip()
    assert upstream_signature("s3cr3t", BODY) == f"sha256={printed}"
    message = f"id/2.{NOW}.".encode() + BODY
    raw = _openssl("s3cr3t", message, "-binary")
    coded = subprocess.run(["base64", "-w0"], input=raw, capture_output=True, check=True).stdout
    assert signature("s3cr3t", "id/2", NOW, BODY) == f"v1,{coded.decode()}"


def test_without_a_secret_nothing_is_signed() -> None:
    headers = signed_headers(None, "id/1", NOW, BODY)
    assert "x-hub-signature-256" not in headers
    assert "webhook-signature" not in headers
    with pytest.raises(ForgedCallbackError):
        CallbackVerifier("s3cr3t", clock=lambda: NOW).verify(headers, BODY)


@pytest.fixture
def verifier() -> CallbackVerifier:
    return CallbackVerifier("s3cr3t", clock=lambda: NOW)


def _genuine(identity: str = "1795206817.829/3", timestamp: int = NOW) -> dict[str, str]:
    return signed_headers("s3cr3t", identity, timestamp, BODY)


def test_a_genuine_callback_is_read_once(verifier: CallbackVerifier) -> None:
    headers = {name.upper(): value for name, value in _genuine().items()}
    callback = verifier.verify(headers, BODY)
    assert (callback.jobid, callback.state, callback.info) == (
        "1795206817.829", JobState.failed, "exit code 3",
    )  # fmt: skip
    with pytest.raises(RepeatedCallbackError):
        verifier.verify(_genuine(timestamp=NOW + 1), BODY)
    assert verifier.verify(_genuine("1795206817.829/4"), BODY)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "1795206817.829/9"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "9" * 40},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": signature("**********", "1795206817.829/3", NOW, BODY)},
        {"webhook-signature": "v1,ünïcode"},
    ],
)
def test_forgeries_are_refused(verifier: CallbackVerifier, change: dict[str, str]) -> None:
    with pytest.raises(ForgedCallbackError):
        verifier.verify({**_genuine(), **change}, BODY)


def test_an_altered_body_is_refused(verifier: CallbackVerifier) -> None:
    with pytest.raises(ForgedCallbackError):
        verifier.verify(_genuine(), BODY.replace(b"failed", b"completed"))


@pytest.mark.parametrize("age", [-301, 301, 86400])
def test_stale_callbacks_are_refused(verifier: CallbackVerifier, age: int) -> None:
    with pytest.raises(ForgedCallbackError, match="not sent within"):
        verifier.verify(_genuine(timestamp=NOW - age), BODY)


def test_one_of_several_signatures_is_enough(verifier: CallbackVerifier) -> None:
    # While a secret is changed, a sender may sign with both.
    good = _genuine()["webhook-signature"]
    assert verifier.verify({**_genuine(), "webhook-signature": f"v1,AAAA {good}"}, BODY)


def test_a_signed_body_that_is_no_callback_is_told(verifier: CallbackVerifier) -> None:
    headers = signed_headers("s3cr3t", "a/1", NOW, b"[]")
    with pytest.raises(BadInputError, match="not a callback"):
        verifier.verify(headers, b"[]")


HISTORY = [
    Transition(1.0, 0, JobState.new, "{}"),
    Transition(2.0, 1, JobState.queued),
    Transition(3.0, 1, JobState.active, "17"),
]


def test_the_outbox_follows_a_history_and_survives(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite")
    assert outbox.follow("1.0", HISTORY[:2]) == 1
    assert outbox.follow("1.0", HISTORY) == 1
    assert outbox.follow("1.0", HISTORY) == 0
    assert outbox.follow("2.0", HISTORY[:2]) == 1
    outbox.close()
    outbox = Outbox(tmp_path / "outbox.sqlite")
    [first, other] = outbox.due(now=9e9)
    assert (first.jobid, first.number, first.tries) == ("1.0", 1, 0)
    assert b'"state":"queued"' in first.body
    outbox.delivered(first)
    outbox.delivered(other)
    [second] = outbox.due(now=9e9)
    outbox.again(second, due=9e9 + 1)
    assert outbox.due(now=9e9) == []
    [again] = outbox.due(now=9e9 + 2)
    assert (again.number, again.tries) == (2, 1)
    assert (outbox.waiting(), outbox.waiting("2.0")) == (1, 0)
    outbox.forget("1.0")
    assert outbox.waiting() == 0
    assert event_id("1.0", 2) == "1.0/2"
    outbox.close()


def test_a_clock_that_is_set_back_puts_no_callback_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JobStore(tmp_path / "jobs")
    job = store.create(JobSpec(script=":", callback="http://127.0.0.1:9/"))
    StateLog(job.folder / "status.csv").append(0, JobState.canceled)
    watch(store.prefix, job.jobid)
    courier = Courier(store, CourierSettings(), CallbackClients(None))
    courier._look()
    now = time.time()
    courier._outbox.again(courier._outbox.due(now)[0], now + 50)
    assert not courier._ready()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now - 3600)
        assert len(courier._ready()) == 1
    courier._outbox.close()


def test_of_threads_with_the_same_callback_one_accepts_it(
    verifier: CallbackVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_there = threading.Barrier(2, timeout=20)

    def parse_together(body: bytes) -> Callback:
        all_there.wait()
        return Callback.model_validate_json(body)

    def verify(_: int) -> bool:
        with contextlib.suppress(RepeatedCallbackError):
            return bool(verifier.verify(_genuine(), BODY))
        return False

    monkeypatch.setattr("airflow_provider_lclstream.psik.callbacks.verifier._parse", parse_together)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(verify, range(2))) == [False, True]


def test_pauses_grow_to_a_bound() -> None:
    settings = CourierSettings(first_pause_seconds=1, longest_pause_seconds=60)
    assert 0.5 <= settings.pause(0) <= 1
    assert 4 <= settings.pause(3) <= 8
    assert 30 <= settings.pause(50) <= 60


def test_an_attempt_that_comes_and_goes_while_its_job_is_let_go_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JobStore(tmp_path / "jobs")
    job = store.create(JobSpec(script=":", callback="http://127.0.0.1:9/"))
    log = StateLog(job.folder / "status.csv")
    log.append(0, JobState.canceled)
    watch(store.prefix, job.jobid)
    courier = Courier(store, CourierSettings(), CallbackClients(None))
    outbox = courier._outbox
    courier._look()
    outbox.delivered(outbox.due(NOW * 2)[0])

    def start_and_fail(_: str) -> int:
        """After the length of the log was looked at, before it is let go."""
        log.append(1, JobState.queued)
        watch(store.prefix, job.jobid)
        log.append(1, JobState.failed)
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "waiting", start_and_fail)
        courier._look()
    courier._look()
    assert outbox.waiting(job.jobid) == 2
    outbox.close()


def test_a_courier_with_nothing_left_but_a_slow_backend_still_sees_new_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_for: Callable[..., Any]
) -> None:
    store = JobStore(tmp_path / "jobs")
    jobs = [store.create(JobSpec(script=":", callback="http://127.0.0.1:9/")) for _ in range(2)]
    is_asked, may_answer, told = threading.Event(), threading.Event(), list[str]()

    def reconcile(_: object) -> None:
        is_asked.set()
        assert may_answer.wait(30)

    async def post(_: str, body: bytes, __: dict[str, str]) -> int:
        told.append(Callback.model_validate_json(body).jobid)
        return 200

    def is_told(jobid: str) -> bool:
        return jobid in told and not watched(store.prefix)

    async def deliver() -> None:
        courier = Courier(store, CourierSettings(), CallbackClients(None))
        monkeypatch.setattr(courier.clients, "post", post)
        running = asyncio.create_task(courier.run(until_idle=True))
        await asyncio.to_thread(is_asked.wait, 20)
        for job in jobs:
            # The one it asks about ends otherwise; when it has told that, the other one comes.
            StateLog(job.folder / "status.csv").append(0, JobState.canceled)
            watch(store.prefix, job.jobid)
            await asyncio.to_thread(wait_for, lambda jobid=job.jobid: is_told(jobid))
        may_answer.set()
        await running

    monkeypatch.setattr("airflow_provider_lclstream.psik.callbacks.courier.reconcile", reconcile)
    watch(store.prefix, jobs[0].jobid)
    try:
        asyncio.run(deliver())
    finally:
        may_answer.set()
    assert told == [job.jobid for job in jobs]
