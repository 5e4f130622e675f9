"""/v4 over a real connection: submit, wait, logs, files, cancel."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.metrics import METRICS


@pytest.fixture
def served(serve: Callable[..., Any]) -> Any:
    return serve()


@pytest.fixture
def http(served: Any) -> Iterator[httpx2.Client]:
    with served.client() as client:
        yield client


def _wait_end(http: httpx2.Client, jobid: str) -> dict[str, Any]:
    after, deadline = 0, time.monotonic() + 30
    while time.monotonic() < deadline:
        job = http.get(f"/v4/jobs/{jobid}", params={"after": after, "wait": 10}).json()
        after = job["rows"]
        if job["state"] in {"completed", "failed", "canceled"}:
            return job
    raise AssertionError(jobid)


def test_a_job_from_submission_to_results(http: httpx2.Client) -> None:
    spec = {"name": "one", "script": "echo hi; echo data > out.txt; exit 3"}
    made = http.post("/v4/jobs", json=spec)
    assert made.status_code == 201
    jobid = made.json()["jobid"]
    job = _wait_end(http, jobid)
    assert (job["state"], job["info"], job["owner"]) == ("failed", "exit code 3", "alice")
    assert job["result"]["exit_code"] == 3
    assert set(http.get(f"/v4/jobs/{jobid}/logs").json()) == {"console", "stderr.1", "stdout.1"}
    assert http.get(f"/v4/jobs/{jobid}/logs/stdout.1").text == "hi\n"
    assert http.get(f"/v4/jobs/{jobid}/logs/stdout.1", params={"tail": 2}).text == "i\n"
    piece = http.get(f"/v4/jobs/{jobid}/logs/stdout.1", params={"offset": 1})
    assert (piece.text, piece.headers["x-next-offset"]) == ("i\n", "3")
    assert http.get(f"/v4/jobs/{jobid}/files/out.txt").text == "data\n"
    with tarfile.open(fileobj=io.BytesIO(http.get(f"/v4/jobs/{jobid}/results.tar").content)) as tar:
        assert set(tar.getnames()) == {
            "work/out.txt",
            "log/console",
            "log/stdout.1",
            "log/stderr.1",
        }
        assert tar.extractfile("work/out.txt").read() == b"data\n"  # type: ignore[union-attr]
    assert http.get(f"/v4/jobs/{jobid}/spec").json()["name"] == "one"


def test_the_same_key_is_the_same_job(http: httpx2.Client) -> None:
    headers = {"idempotency-key": "dag/run/task"}
    spec = {"script": "sleep 0.2"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: http.post("/v4/jobs", json=spec, headers=headers), range(16))
        )
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.json()["jobid"] for answer in answers}) == 1
    assert len(http.get("/v4/jobs").json()["jobs"]) == 1


def test_long_poll_wakes_at_once(served: Any, http: httpx2.Client, figure: Any) -> None:
    delays: list[float] = []
    for _ in range(5):
        jobid = http.post("/v4/jobs?submit=false", json={"script": "true"}).json()["jobid"]
        job, woken = JobStore(served.prefix).get(jobid), [0.0]
        asks = threading.Event()

        def poll(
            jobid: str = jobid, woken: list[float] = woken, asks: threading.Event = asks
        ) -> None:
            with served.client() as own:
                own.get("/healthz")  # what opens the connection is no part of the figure
                asks.set()
                answer = own.get(f"/v4/jobs/{jobid}", params={"after": 1, "wait": 20})
                woken[0] = time.time()
                assert answer.json()["rows"] >= 2

        waiter = threading.Thread(target=poll)
        waiter.start()
        assert asks.wait(20)
        time.sleep(0.4)
        assert not woken[0]
        job.submit()
        waiter.join(20)
        delays.append(woken[0] - job.history()[1].time)
    figure("long_poll_wakes_after_milliseconds", max(delays) * 1000)
    assert max(delays) <= 0.1


def test_long_poll_ends_with_its_time(http: httpx2.Client) -> None:
    jobid = http.post("/v4/jobs?submit=false", json={"script": "true"}).json()["jobid"]
    began = time.monotonic()
    job = http.get(f"/v4/jobs/{jobid}", params={"after": 1, "wait": 0.3}).json()
    assert 0.2 < time.monotonic() - began < 3
    assert (job["rows"], job["history"]) == (1, [])


def test_following_a_log_ends_with_the_job(http: httpx2.Client) -> None:
    script = "for i in 1 2 3; do echo $i; sleep 0.2; done"
    jobid = http.post("/v4/jobs", json={"script": script}).json()["jobid"]
    assert http.get(f"/v4/jobs/{jobid}/logs/0", params={"follow": True}).status_code == 404
    # Its log may not be there yet: following waits for it.
    assert http.get(f"/v4/jobs/{jobid}/logs/stdout.1", params={"follow": True}).text == "1\n2\n3\n"


def test_files_up_and_down_with_ranges(http: httpx2.Client) -> None:
    jobid = http.post("/v4/jobs?submit=false", json={"script": "cat in/x"}).json()["jobid"]
    content = bytes(range(256)) * 10_000
    sent = http.post(
        f"/v4/jobs/{jobid}/files", files=[("files", ("in/x", content)), ("files", ("y", b"yy"))]
    )
    assert sent.json() == ["in/x", "y"]
    whole = http.get(f"/v4/jobs/{jobid}/files/in/x")
    assert whole.content == content
    assert whole.headers["accept-ranges"] == "bytes"
    part = http.get(f"/v4/jobs/{jobid}/files/in/x", headers={"range": "bytes=256-511"})
    assert (part.status_code, part.content) == (206, bytes(range(256)))
    assert part.headers["content-range"] == f"bytes 256-511/{len(content)}"
    beyond = http.get(f"/v4/jobs/{jobid}/files/in/x", headers={"range": "bytes=99999999-"})
    assert beyond.status_code == 416
    assert set(http.get(f"/v4/jobs/{jobid}/files").json()) == {"in", "y"}


def test_a_part_of_a_file_that_has_changed_is_not_gone_on_with(http: httpx2.Client) -> None:
    jobid = http.post("/v4/jobs?submit=false", json={"script": "true"}).json()["jobid"]
    path = f"/v4/jobs/{jobid}/files"
    http.post(path, files=[("files", ("x", b"0123456789"))])
    headers = {"range": "bytes=5-", "if-range": http.get(f"{path}/x").headers["etag"]}
    same = http.get(f"{path}/x", headers=headers)
    assert (same.status_code, same.content) == (206, b"56789")
    http.post(path, files=[("files", ("x", b"abcdefghijkl"))])
    changed = http.get(f"{path}/x", headers=headers)
    assert (changed.status_code, changed.content) == (200, b"abcdefghijkl")


def test_cancel_and_start_again(http: httpx2.Client) -> None:
    jobid = http.post("/v4/jobs", json={"script": "sleep 60"}).json()["jobid"]
    http.get(f"/v4/jobs/{jobid}", params={"after": 2, "wait": 10})
    assert http.post(f"/v4/jobs/{jobid}/start").status_code == 409
    http.delete(f"/v4/jobs/{jobid}")
    job = _wait_end(http, jobid)
    assert (job["state"], job["info"]) == ("canceled", "canceled by alice")
    assert http.post(f"/v4/jobs/{jobid}/start").json()["jobndx"] == 2


def test_pages_and_filters(http: httpx2.Client) -> None:
    ids = [
        http.post("/v4/jobs?submit=false", json={"script": "true", "name": name}).json()["jobid"]
        for name in ("a", "b", "a")
    ]
    page = http.get("/v4/jobs", params={"limit": 2}).json()
    assert [job["jobid"] for job in page["jobs"]] == ids[:0:-1]
    rest = http.get("/v4/jobs", params={"limit": 2, "before": page["next"]}).json()
    assert ([job["jobid"] for job in rest["jobs"]], rest["next"]) == (ids[:1], None)
    named = http.get("/v4/jobs", params={"name": "a"}).json()["jobs"]
    assert {job["jobid"] for job in named} == {ids[0], ids[2]}
    assert http.get("/v4/jobs", params={"state": "failed"}).json()["jobs"] == []


def test_jobs_get_the_sites_environment_not_the_services(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "do not tell")
    served = serve(environment={"PATH": "/usr/bin:/bin", "SITE": "S3DF"})
    with served.client() as http:
        spec = {"script": "env", "environment": {"X": "1"}}
        jobid = http.post("/v4/jobs", json=spec).json()["jobid"]
        _wait_end(http, jobid)
        text = http.get(f"/v4/jobs/{jobid}/logs/stdout.1").text
    assert "SITE=S3DF" in text
    assert "X=1" in text
    assert "SERVICE_TOKEN" not in text


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v4/jobs/0000.123", None, 404),
        ("GET", "/v4/jobs/abc", None, 404),
        ("POST", "/v4/jobs", {"script": "x", "bogus": 1}, 422),
        ("POST", "/v4/jobs", {"script": "x", "backend": "nope"}, 422),
        ("POST", "/v4/jobs", {"script": "x", "directory": "/etc"}, 403),
        ("POST", "/v2/jobs", {"script": "x", "backend": "nope"}, 422),
        ("GET", "/v2/jobs/abc", None, 400),
        ("GET", "/v4/nothing", None, 404),
    ],
)
def test_refusals_are_told(
    http: httpx2.Client, method: str, path: str, body: Any, status: int
) -> None:
    answer = http.request(method, path, json=body)
    assert answer.status_code == status
    assert "detail" in answer.json()
    assert http.get("/v4/jobs").json()["jobs"] == []


def test_long_bodies_are_refused_before_they_are_read(serve: Callable[..., Any]) -> None:
    served = serve(max_body="64 KiB", max_upload="128 KiB")
    with served.client() as http:
        assert http.post("/v4/jobs", json={"script": "x" * 100_000}).status_code == 413
        pieces = (b"x" * 1000 for _ in range(100))
        undeclared = http.post(
            "/v4/jobs", content=pieces, headers={"content-type": "application/json"}
        )
        assert undeclared.status_code in {400, 413, 422}
        jobid = http.post("/v4/jobs?submit=false", json={"script": "x"}).json()["jobid"]
        big = http.post(f"/v4/jobs/{jobid}/files", files={"files": ("x", b"x" * 150_000)})
        assert big.status_code == 400
        assert http.get(f"/v4/jobs/{jobid}/files").json() == {}
        assert http.get("/healthz").json()["status"] == "ok"


def test_health_and_metrics(http: httpx2.Client, wait_for: Any, free_port: Any) -> None:
    callback = {"callback": f"http://127.0.0.1:{free_port()}/cb", "cb_secret": "k"}
    http.post("/v4/jobs?submit=false", json={"script": "true"})
    jobid = http.post("/v4/jobs", json={"script": "exit 1", **callback}).json()["jobid"]
    http.post("/v3/jobs", json={"script": "true", "backend": '"of mine\n'})
    http.get(f"/v4/jobs/{jobid}", params={"after": 3, "wait": 10})
    assert http.get("/healthz").json() == {"status": "ok", "stopped": [], "problems": {}}

    def served() -> dict[str, float]:
        families = text_string_to_metric_families(http.get("/metrics").text)
        found = {
            f"{sample.name}{sorted(sample.labels.values())}": sample.value
            for family in families
            for sample in family.samples
        }
        is_tried = found.get("lclstream_callbacks_sent_total['failed']")
        return found if is_tried and found["lclstream_callbacks_waiting_callbacks[]"] == 3 else {}

    found = wait_for(served, what="three callbacks that wait, one of them tried")
    assert found["lclstream_jobs_known_jobs['new']"] == 1
    assert found["lclstream_jobs_known_jobs['failed']"] == 1
    assert found["lclstream_jobs_submitted_total['default', 'taken']"] == 2
    assert found["lclstream_jobs_answered_requests_total['4xx', 'v3']"] == 1
    assert found["lclstream_callbacks_oldest_seconds[]"] > 0
    assert 0 <= found["lclstream_jobs_reconcile_age_seconds[]"] < 10
    assert found["lclstream_jobs_reconcile_problems[]"] == 0
    assert found["lclstream_jobs_waiting_requests[]"] == 0


def test_the_metrics_served_are_those_that_are_documented(http: httpx2.Client) -> None:
    told = http.get("/metrics").text.splitlines()
    served = {line.split()[2] for line in told if line.startswith("# TYPE")}
    prefixes = ("lclstream_jobs_", "lclstream_callbacks_")
    assert served == {metric.name for metric in METRICS if metric.name.startswith(prefixes)}


def test_a_file_that_appears_ends_the_wait(http: httpx2.Client) -> None:
    script = "sleep 0.5; mkdir d; echo '{}' > d/ready.json; sleep 60"
    jobid = http.post("/v4/jobs", json={"script": script}).json()["jobid"]
    http.get(f"/v4/jobs/{jobid}", params={"after": 2, "wait": 10})
    asked = {"after": 3, "wait": 20, "file": "d/ready.json"}
    began = time.monotonic()
    job = http.get(f"/v4/jobs/{jobid}", params=asked).json()
    assert (job["state"], job["has_file"], job["rows"]) == ("active", True, 3)
    assert time.monotonic() - began < 10
    assert http.get(f"/v4/jobs/{jobid}", params={"file": "d"}).json()["has_file"] is False
    assert http.get(f"/v4/jobs/{jobid}").json()["has_file"] is None


def test_logs_come_in_pieces(http: httpx2.Client) -> None:
    jobid = http.post("/v4/jobs", json={"script": "printf 0123456789"}).json()["jobid"]
    _wait_end(http, jobid)

    def piece(**asked: int) -> str:
        return http.get(f"/v4/jobs/{jobid}/logs/stdout.1", params=asked).text

    assert piece(offset=2, limit=3) == "234"
    assert piece(tail=4, limit=2) == "67"
    assert piece(tail=2**40) == "0123456789"
    assert piece(offset=2**40) == ""


def test_names_that_are_no_text_are_listed(http: httpx2.Client) -> None:
    jobid = http.post("/v4/jobs", json={"script": r"echo 1 > $'a\xff'"}).json()["jobid"]
    _wait_end(http, jobid)
    assert list(http.get(f"/v4/jobs/{jobid}/files").json()) == ["a\ufffd"]
    with tarfile.open(fileobj=io.BytesIO(http.get(f"/v4/jobs/{jobid}/results.tar").content)) as tar:
        assert "work/a\udcff" in tar.getnames()
