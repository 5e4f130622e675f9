"""Over mutual TLS: nobody sees, reads, cancels or writes into another's jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from identities import LOOPBACK, introduce, person, service

from airflow_provider_lclstream.certified.clients import service_client
from airflow_provider_lclstream.certified.trust import read_service
from airflow_provider_lclstream.psik.store import JobStore

POLICY = {
    "rules": [
        {"who": ["uid:operator"], "sees": ["*"]},
        {"who": ["uid:mallory"], "backends": []},
        {"who": ["uid:alice", "uid:bob"], "max_unfinished": 2},
    ]
}


@dataclass
class World:
    """A service and the clients of those it knows."""

    prefix: Path
    clients: dict[str, httpx2.Client]
    url: str


@pytest.fixture
def world(tmp_path: Path, processes: Any, wait_for: Any) -> Iterator[World]:
    server = service(tmp_path / "server", "psik")
    prefix, config = tmp_path / "jobs", tmp_path / "psik.json"
    config.write_text(json.dumps({"prefix": str(prefix), "policy": POLICY}))
    running = processes.start(
        ["lclstream", "psik", "serve", f"https://{LOOPBACK}:0", "--config", config,
         "--identity", server.path],
    )  # fmt: skip
    wait_for(lambda: "listening" in running.stdout or running.process.poll() is not None)
    assert running.process.poll() is None, running.stderr
    url = json.loads(running.stdout.splitlines()[0])["listening"]
    clients: dict[str, httpx2.Client] = {}
    for name in ("alice", "bob", "operator", "mallory", "eve"):
        folder = person(tmp_path / name, name)
        introduce(server, folder, name, alias="psik", url=url)
        found = read_service(folder, "psik")
        assert found is not None
        clients[name] = service_client(folder, found)
    yield World(prefix, clients, url)
    for client in clients.values():
        client.close()
    for job in JobStore(prefix).jobs():
        if job.pending_attempt() is not None:
            job.cancel()
            wait_for(lambda job=job: job.reconcile().is_final)


def _make(client: httpx2.Client, script: str = "sleep 60", *, submit: bool = True) -> str:
    made = client.post("/v4/jobs", params={"submit": submit}, json={"script": script})
    assert made.status_code == 201, made.text
    return made.json()["jobid"]


def test_people_are_told_who_they_are_and_what_they_may(world: World) -> None:
    told = {name: client.get("/who").json() for name, client in world.clients.items()}
    assert [facts["principal"] for facts in told.values()] == [f"uid:{name}" for name in told]
    assert told["alice"]["owner"].startswith("uid:alice@")
    assert told["alice"]["may"]["max_unfinished"] == 2
    assert "bob" not in str(told["alice"])
    assert told["mallory"]["may"]["backends"] == []
    assert told["eve"]["may"] is None


def test_another_persons_job_is_not_there(world: World) -> None:
    alice, bob = world.clients["alice"], world.clients["bob"]
    jobid = _make(alice, "echo secret; sleep 60")
    alice.get(f"/v4/jobs/{jobid}", params={"after": 2, "wait": 10})
    attempts = [
        ("GET", "", None),
        ("GET", "?after=0&wait=1&file=x", None),
        ("GET", "/spec", None),
        ("GET", "/logs", None),
        ("GET", "/logs/stdout.1", None),
        ("GET", "/logs/stdout.1?tail=9&limit=9", None),
        ("GET", "/logs/stdout.1?follow=true", None),
        ("GET", "/files", None),
        ("GET", "/files/x", None),
        ("GET", "/results.tar", None),
        ("GET", "/state", None),
        ("POST", "/files", {"files": ("x", b"evil")}),
        ("POST", "/start", None),
        ("DELETE", "", None),
        ("DELETE", "?reason=mine", None),
        ("DELETE", "/folder", None),
    ]
    for dialect in ("v2", "v3", "v4"):
        for method, path, files in attempts:
            answer = bob.request(method, f"/{dialect}/jobs/{jobid}{path}", files=files)
            assert answer.status_code in {404, 405}, (dialect, method, path, answer.text)
            assert "secret" not in answer.text
    assert bob.get("/v4/jobs").json()["jobs"] == []
    assert bob.get("/v3/jobs").json() == []
    job = alice.get(f"/v4/jobs/{jobid}").json()
    assert job["state"] == "active"
    assert job["owner"].startswith("uid:alice@")
    assert alice.get(f"/v4/jobs/{jobid}/files").json() == {}


def test_the_same_key_of_two_people_is_two_jobs(world: World) -> None:
    headers = {"idempotency-key": "k"}
    ids = {
        world.clients[name].post(
            "/v4/jobs?submit=false", json={"script": "true"}, headers=headers
        ).json()["jobid"]
        for name in ("alice", "bob", "alice")
    }  # fmt: skip
    assert len(ids) == 2


def test_who_may_see_may_not_change(world: World) -> None:
    jobid = _make(world.clients["alice"])
    operator = world.clients["operator"]
    assert operator.get(f"/v4/jobs/{jobid}").json()["state"] in {"queued", "active"}
    assert len(operator.get("/v4/jobs").json()["jobs"]) == 1
    assert operator.delete(f"/v4/jobs/{jobid}").status_code == 404
    assert operator.post(f"/v4/jobs/{jobid}/start").status_code == 404
    assert operator.delete(f"/v4/jobs/{jobid}/folder").status_code == 404


def test_an_ended_job_is_removed_by_whom_it_belongs_to(world: World) -> None:
    alice, bob = world.clients["alice"], world.clients["bob"]
    jobid = _make(alice)
    busy = alice.delete(f"/v4/jobs/{jobid}/folder")
    assert (busy.status_code, busy.json()["mend"]) == (409, "cancel it first")
    alice.delete(f"/v4/jobs/{jobid}", params={"reason": "not\nneeded"})
    ended = alice.get(f"/v4/jobs/{jobid}", params={"after": 3, "wait": 10}).json()
    assert ended["state"] == "canceled"
    assert ended["info"].endswith(": not needed")
    assert bob.delete(f"/v4/jobs/{jobid}/folder").status_code == 404
    assert (world.prefix / jobid).is_dir()
    assert alice.delete(f"/v4/jobs/{jobid}/folder").status_code == 204
    assert not (world.prefix / jobid).exists()
    assert alice.get("/v4/jobs").json()["jobs"] == []
    assert alice.delete(f"/v4/jobs/{jobid}/folder").status_code == 404


def test_rules_bound_what_is_submitted(world: World) -> None:
    bob = world.clients["bob"]
    for _ in range(2):
        _make(bob)
    refused = bob.post("/v4/jobs", json={"script": "true"})
    assert refused.status_code == 403
    assert "2 of your jobs" in refused.json()["detail"]
    assert bob.post("/v4/jobs/check", json={"script": "true"}).status_code == 204
    for path in ("/v4/jobs", "/v4/jobs/check"):
        assert world.clients["mallory"].post(path, json={"script": "x"}).status_code == 403
    assert world.clients["mallory"].get("/v4/backends").json() == {}
    assert world.clients["eve"].get("/v4/jobs").status_code == 403


def test_without_a_certificate_there_is_no_service(world: World) -> None:
    with pytest.raises(httpx2.HTTPError):
        httpx2.get(f"{world.url}/v4/jobs", verify=False, trust_env=False)


def test_what_is_allowed_is_never_refused(world: World) -> None:
    def ask(number: int) -> int:
        return world.clients["alice" if number % 2 else "bob"].get("/v3/jobs").status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(600))) == {200}


def test_who_asks_is_who_holds_the_key_and_no_token_says_otherwise(world: World) -> None:
    alice, bob = world.clients["alice"], world.clients["bob"]
    jobid = _make(alice)
    for path in ("/token", "/v2/token", "/v3/token", "/v4/token"):
        for method in ("GET", "POST"):
            assert alice.request(method, path).status_code == 404
    owner = alice.get(f"/v4/jobs/{jobid}").json()["owner"]
    claims = {
        "authorization": f"Bearer {owner}", "x-forwarded-user": owner, "remote-user": owner,
        "x-ssl-client-verify": "SUCCESS", "x-ssl-client-s-dn": "CN=alice", "forwarded": owner,
    }  # fmt: skip
    assert bob.get(f"/v4/jobs/{jobid}", headers=claims).status_code == 404
    made = bob.post("/v4/jobs?submit=false", json={"script": "true"}, headers=claims).json()
    assert made["owner"].startswith("uid:bob@")


ESCAPES = [
    "../spec.json", "..%2fspec.json", "%2e%2e/spec.json", "/etc/passwd",
    "%2fetc%2fpasswd", "leak/spec.json", "dir/../../.psik/secret", "leak", "passwd",
]  # fmt: skip


def test_paths_do_not_escape(world: World) -> None:
    alice = world.clients["alice"]
    jobid = _make(alice, "ln -s .. leak; ln -s /etc/passwd passwd")
    alice.get(f"/v4/jobs/{jobid}", params={"after": 3, "wait": 10})
    before = {
        path: path.read_bytes()
        for path in (Path("/etc/passwd"), world.prefix / jobid / "spec.json")
    }
    for dialect in ("v2", "v3", "v4"):
        for path in ESCAPES:
            answer = alice.get(f"/{dialect}/jobs/{jobid}/files/{path}")
            assert answer.status_code in {400, 404}, (dialect, path, answer.text)
    for path in ESCAPES:
        seen = alice.get(f"/v4/jobs/{jobid}", params={"file": path})
        assert seen.status_code == 400 or seen.json()["has_file"] is False, path
    for dialect in ("v2", "v3", "v4"):
        for path in ESCAPES:
            # A name that is a link is replaced by the file; every other one is refused.
            sent = alice.post(f"/{dialect}/jobs/{jobid}/files", files={"files": (path, b"evil")})
            is_link = path in {"leak", "passwd"}
            assert sent.status_code == 200 if is_link else sent.status_code in {400, 404}, path
    assert {path: path.read_bytes() for path in before} == before
    assert set(alice.get(f"/v4/jobs/{jobid}/files").json()) == {"leak", "passwd"}
