"""What is asked of a service, and what its refusals mean: without any service."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from airflow_provider_lclstream.psik.access import questions
from airflow_provider_lclstream.psik.access.places import service_place
from airflow_provider_lclstream.psik.access.refusals import refusal
from airflow_provider_lclstream.psik.access.rounds import SHORTEST_ROUND_SECONDS, Rounds
from airflow_provider_lclstream.psik.backends.psik import PsikBackend
from airflow_provider_lclstream.psik.facts import JobFacts, facts_of
from airflow_provider_lclstream.psik.job import JobNotFoundError
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.states import TransitionRefusedError
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import (
    BadInputError,
    ConfigurationError,
    LCLStreamError,
    PermissionDeniedError,
    UnavailableError,
)

JOB = "1795207134.516"


@pytest.fixture
def facts(tmp_path: Path) -> JobFacts:
    return facts_of(JobStore(tmp_path).create(JobSpec(script="true")))


@pytest.mark.parametrize(
    ("status", "kind", "transient"),
    [
        (400, BadInputError, False),
        (403, PermissionDeniedError, False),
        (404, JobNotFoundError, False),
        (409, TransitionRefusedError, False),
        (413, BadInputError, False),
        (408, UnavailableError, True),
        (429, UnavailableError, True),
        (500, UnavailableError, True),
        (503, UnavailableError, True),
        (302, BadInputError, False),
    ],
)
def test_a_refusal_keeps_its_words_and_says_whether_to_retry(
    status: int, kind: type[LCLStreamError], transient: bool
) -> None:
    reply = httpx2.Response(
        status,
        json={"detail": "too much of it", "mend": "ask for less"},
        headers={"content-type": "application/problem+json"},
    )
    error = refusal(reply, "https://psik")
    assert (type(error), error.transient) == (kind, transient)
    assert (error.problem, error.mend) == ("too much of it", "ask for less")
    assert error.where == "https://psik"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b'{"detail": "Not Found"}', "no such route"),
        (502, b"<h1>Bad Gateway</h1>", "answered 502: <h1>Bad Gateway</h1>"),
        (503, b"", "answered 503"),
        (422, b'{"detail": [{"loc": ["body", "name"], "msg": "too long"}]}', "name: too long"),
        (400, b"[1]", "answered 400: [1]"),
        (500, b"\xff\x00" * 5000, "answered 500"),
    ],
)
def test_what_others_answer_is_passed_on_in_short(status: int, body: bytes, words: str) -> None:
    error = refusal(httpx2.Response(status, content=body), "https://psik")
    assert words in error.problem
    assert len(error.problem) < 600
    assert error.mend
    assert not isinstance(error, JobNotFoundError)


@pytest.mark.parametrize("status", [200, 204])
def test_an_answer_that_is_none_is_told(status: int) -> None:
    for content in (b"", b"<html>", b"[]", b'{"jobid": 1}', b"\xff"):
        with pytest.raises(BadInputError, match="cannot be understood"):
            questions.start(JOB).answer(httpx2.Response(status, content=content), "https://psik")


@pytest.mark.parametrize("name", ["..", ".", "", "a/../b", "/etc/passwd", "a//b"])
def test_names_that_clients_would_leave_out_of_a_path_are_refused(name: str) -> None:
    with pytest.raises(JobNotFoundError):
        questions.file_content(JOB, name)
    with pytest.raises(JobNotFoundError):
        questions.look(name, 0, 0, None)


def test_names_travel_whole() -> None:
    assert questions.file_content(JOB, "a b/c?d#e%2f").path.endswith("/files/a%20b/c%3Fd%23e%252f")
    parts = questions.upload(JOB, {"a b/ü\udcff": b"1"}).files
    assert parts == [("files", ("a%20b/%C3%BC%FF", b"1"))]


def test_a_key_fits_into_a_header() -> None:
    def header(key: str) -> str:
        return questions.create(JobSpec(script="x"), key, submit=True).headers["idempotency-key"]

    assert header("dag/run/task 3") == "dag/run/task 3"
    odd = ["ü", "a\nb", " a", "x" * 5000, ""]
    assert len({header(key) for key in odd}) == len(odd)
    assert all(header(key).isascii() and len(header(key)) <= 200 for key in odd)


def test_a_specification_is_sent_with_its_secret_and_without_its_defaults() -> None:
    spec = JobSpec.model_validate(
        {"script": "x", "cb_secret": "s3", "resources": {"duration": "1h", "memory": "1 GiB"}}
    )
    sent = questions.document_of(spec)
    assert sent == {
        "script": "x", "cb_secret": "s3", "resources": {"duration": 60.0, "memory": 2**30},
    }  # fmt: skip
    assert JobSpec.model_validate(json.loads(json.dumps(sent))) == spec


def test_a_long_wait_is_asked_for_in_rounds(facts: JobFacts) -> None:
    assert questions.look(JOB, 3, 7 * 86400, "x").params["wait"] == questions.ROUND_SECONDS
    assert questions.look(JOB, 3, -1, None).params == {"after": 3, "wait": 0}
    rounds = Rounds(after=facts.rows, wait_seconds=100)
    assert 99 < rounds.begin() <= 100
    pause = rounds.pause_after(facts)
    assert pause is not None
    assert 0 < pause <= SHORTEST_ROUND_SECONDS, "a service that does not wait is not beaten"
    assert rounds.pause_after(facts.model_copy(update={"rows": facts.rows + 1})) is None
    assert rounds.pause_after(facts.model_copy(update={"has_file": True})) is None
    assert Rounds(after=facts.rows, wait_seconds=0).pause_after(facts) is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:80/", "http://[::1]:80", "http://localhost"])
def test_plain_http_on_this_machine_needs_no_identity(url: str, tmp_path: Path) -> None:
    place = service_place(url, tmp_path)
    assert (place.url, place.verify) == (url.rstrip("/"), False)


@pytest.mark.parametrize(
    "url", ["http://example.org", "http://127.0.0.1.example.org", "http://127.0.0.1@example.org"]
)
def test_plain_http_goes_nowhere_else(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not on this machine"):
        service_place(url)
    config = BackendConfig(type="psik", attributes={"remote_url": url})
    with pytest.raises(ConfigurationError, match="not on this machine"):
        PsikBackend("far", config, Path("/nowhere"))


def test_a_service_that_hangs_keeps_no_other_from_being_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_asked, may_answer = threading.Event(), threading.Event()

    def ask(backend: PsikBackend, _method: str, _path: str) -> None:
        if backend.name == "slow":
            is_asked.set()
            assert may_answer.wait(30)

    monkeypatch.setattr(PsikBackend, "_ask", ask)
    config = BackendConfig(type="psik", attributes={"remote_url": "http://127.0.0.1:9"})
    slow, quick = (PsikBackend(name, config, Path("/nowhere")) for name in ("slow", "quick"))
    with ThreadPoolExecutor(2) as pool:
        asking = pool.submit(getattr, slow, "_dialect")
        assert is_asked.wait(20)
        try:
            assert pool.submit(getattr, quick, "_dialect").result(10) == "v4"
        finally:
            may_answer.set()
        assert asking.result(20) == "v4"


def test_what_is_no_url_is_told() -> None:
    with pytest.raises(BadInputError):
        service_place("http://[::1")
