"""Against real `certified` 1.3.0 from PyPI in its own virtual environment: both ways."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from identities import LOOPBACK, organisation, person

from airflow_provider_lclstream.certified.folder import IdentityFolder

pytestmark = pytest.mark.interop

VERSION = "1.3.0"
APPLICATION = """
from certified.fast import PeerCert
from fastapi import FastAPI
app = FastAPI()

@app.get("/who")
async def who(peer: PeerCert):
    names = {key: value for part in peer["subject"] for key, value in part}
    return {"user": names.get("userId")}

@app.post("/echo")
async def echo(body: dict):
    return body
"""
OURS = """
import json

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    message = await receive()
    peer = scope["state"]["peer"]
    data = json.dumps({"peer": peer.principal, "body": message.get("body", b"").decode()}).encode()
    headers = [(b"content-type", b"application/json")]
    status = 404 if scope["path"] == "/missing" else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
"""


@pytest.fixture(scope="session")
def theirs(repository, require) -> Path:
    """The folder of upstream's programs; installed on first use."""
    folder = repository / ".cache" / f"certified-{VERSION}"
    if not (folder / "bin" / "certified").exists() or not _has(folder, "uvicorn"):
        uv = str(repository / "tools" / "uv")
        for words in (
            [uv, "venv", "--quiet", "--allow-existing", str(folder)],
            [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"),
             f"certified[http]=={VERSION}"],
        ):  # fmt: skip
            done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
            require(done.returncode == 0, f"certified {VERSION} cannot be installed: "
                    f"{done.stderr[-300:]}; connect to PyPI or its mirror")  # fmt: skip
    return folder / "bin"


def _has(folder: Path, package: str) -> bool:
    return any(folder.glob(f"lib/python*/site-packages/{package}"))


@pytest.fixture
def run(processes, theirs):
    """Run one of their programs (``certified …``) or ours (``lclstream …``)."""

    def call(*words, code=0, environment=None):
        program = theirs / words[0] if words[0] in {"certified", "message"} else words[0]
        clean = {"VIRTUAL_ENV": "", "PYTHONPATH": "", **(environment or {})}
        done = processes.run([program, *words[1:]], environment=clean)
        assert done.process.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout

    return call


def init_theirs(run, folder: Path, *who: str) -> IdentityFolder:
    run("certified", "init", *who, "--config", folder)
    return IdentityFolder(folder)


def serve_ours(processes, wait_for, tmp_path, folder) -> str:
    (tmp_path / "ours.py").write_text(OURS)
    running = processes.start(
        ["lclstream", "certified", "serve", "ours:app", f"https://{LOOPBACK}:0",
         "--config", folder.path], cwd=tmp_path,
    )  # fmt: skip
    wait_for(lambda: "startup complete" in running.stderr or running.process.poll() is not None)
    return json.loads(running.stdout.splitlines()[0])["listening"]


def serve_theirs(processes, wait_for, tmp_path, theirs, folder, port) -> str:
    (tmp_path / "theirs.py").write_text(APPLICATION)
    url = f"https://{LOOPBACK}:{port}"
    running = processes.start(
        [theirs / "certified", "serve", "theirs:app", url, "-v", "--config", folder.path],
        cwd=tmp_path, environment={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip

    def listens() -> bool:
        import socket

        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, port)) == 0

    wait_for(listens, what=f"their server ({running.stderr[-500:]})")
    return url


def introduced_by_us(run, tmp_path, ours, them, url, *options) -> Path:
    """What our authority answers to their `get-ident`."""
    (tmp_path / "ident.b64").write_text(run("certified", "get-ident", "--config", them.path))
    answer = run("lclstream", "certified", "introduce", tmp_path / "ident.b64", "--uid", "alice",
                 "--knows", f"psik={url}", "--config", ours.path, *options)  # fmt: skip
    path = tmp_path / "introduction.json"
    path.write_text(answer)
    return path


def test_their_message_calls_our_server(run, processes, wait_for, tmp_path):
    ours = organisation(tmp_path / "ours")
    them = init_theirs(run, tmp_path / "them", "Alice", "--uid", "mallory", "--email", "a@x.org")
    url = serve_ours(processes, wait_for, tmp_path, ours)
    introduction = introduced_by_us(run, tmp_path, ours, them, url, "--unproven")
    run("certified", "add-intro", introduction, "--config", them.path)
    answer = json.loads(run("message", "https://psik/who", "--config", them.path))
    assert answer["peer"] == "uid:alice"
    posted = run("message", "https://psik/echo", '{"a": 1}', "--config", them.path)
    assert json.loads(json.loads(posted)["body"]) == {"a": 1}
    run("message", "https://psik/missing", "--config", them.path, code=404 % 256)


def test_their_unproven_identity_needs_the_operators_word(run, processes, tmp_path):
    ours = organisation(tmp_path / "ours")
    them = init_theirs(run, tmp_path / "them", "Alice", "--email", "a@x.org")
    (tmp_path / "ident").write_text(run("certified", "get-ident", "--config", them.path))
    run("lclstream", "certified", "introduce", tmp_path / "ident", "--uid", "alice",
        "--config", ours.path, code=77)  # fmt: skip


def test_a_request_made_with_openssl_from_their_key_is_proof_enough(run, tmp_path, require):
    import shutil

    require(shutil.which("openssl"), "install openssl")
    ours = organisation(tmp_path / "ours")
    them = init_theirs(run, tmp_path / "them", "Alice", "--email", "a@x.org")
    run("openssl", "req", "-new", "-key", them.key, "-subj", "/CN=root", "-out", tmp_path / "csr")
    answer = run("lclstream", "certified", "introduce", tmp_path / "csr", "--uid", "alice",
                 "--config", ours.path)  # fmt: skip
    (tmp_path / "i.json").write_text(answer)
    run("certified", "add-intro", tmp_path / "i.json", "--config", them.path)
    assert list((them.path / "id").glob("*.crt"))


def test_our_client_calls_their_server_after_their_introduction(
    run, processes, wait_for, tmp_path, theirs, free_port
):
    them = init_theirs(run, tmp_path / "them", "--org", "S3DF", "--unit", "psik-api", "--host",
                       LOOPBACK)  # fmt: skip
    ours = person(tmp_path / "ours", "alice")
    (tmp_path / "csr").write_text(run("lclstream", "certified", "request", "--config", ours.path))
    url = serve_theirs(processes, wait_for, tmp_path, theirs, them, free_port())
    answer = json.loads(run("certified", "introduce", tmp_path / "csr", "--config", them.path))
    answer["services"] = {"psik": url}
    (tmp_path / "i.json").write_text(json.dumps(answer))
    run("lclstream", "certified", "add-introduction", tmp_path / "i.json", "--config", ours.path)
    who = run("lclstream", "message", "psik/who", "--config", ours.path)
    assert json.loads(who) == {"user": "alice"}
    echo = run("lclstream", "message", "psik/echo", "-d", '{"b": 2}', "--config", ours.path)
    assert json.loads(echo) == {"b": 2}
    run("lclstream", "message", "psik/nowhere", "--config", ours.path, code=22)


def test_trust_by_hand_works_both_ways(run, processes, wait_for, tmp_path, theirs, free_port):
    """Their add-client and add-service with our authority, and ours with theirs."""
    them = init_theirs(run, tmp_path / "them", "Bob", "--uid", "bob", "--host", LOOPBACK)
    ours = organisation(tmp_path / "ours")
    signer = tmp_path / "their-signer.json"
    signer.write_text(run("certified", "get-signer", "--config", them.path))
    run("lclstream", "certified", "add-client", "bob", signer, "--config", ours.path)
    our_pem = tmp_path / "our-signer.pem"
    our_pem.write_text(
        run("lclstream", "certified", "export", "authority", "--pem", "--config", ours.path)
    )
    run("certified", "add-client", "ours", our_pem, "--config", them.path)
    url = serve_ours(processes, wait_for, tmp_path, ours)
    run("certified", "add-service", LOOPBACK, our_pem, "--config", them.path)
    # Their client names the authority of the service and has no certificate by it: it shows none.
    run("message", f"{url}/who", "--config", them.path, code=1)
    (them.path / "known_servers" / f"{LOOPBACK}.yaml").unlink()
    (them.path / "known_servers" / "ours.crt").write_text(our_pem.read_text())
    who = run("message", f"{url}/who", "--config", them.path)
    assert json.loads(who)["peer"] == "uid:bob"
    their_url = serve_theirs(processes, wait_for, tmp_path, theirs, them, free_port())
    run("lclstream", "certified", "add-service", "bob", signer, "--url", their_url,
        "--config", ours.path)  # fmt: skip
    who = run("lclstream", "message", "bob/who", "--config", ours.path)
    assert json.loads(who) == {"user": None}


def test_our_tools_work_in_a_folder_that_theirs_made_and_the_reverse(
    run, processes, wait_for, tmp_path
):
    them = init_theirs(run, tmp_path / "them", "Bob", "--uid", "bob", "--host", LOOPBACK)
    url = serve_ours(processes, wait_for, tmp_path, them)
    shown = json.loads(run("lclstream", "certified", "show", "--json", "--config", them.path))
    assert shown["certificates"]["id.crt"]["principal"] == "uid:bob"
    run("lclstream", "certified", "check", "--config", them.path)
    assert json.loads(run("message", f"{url}/who", "--config", them.path))["peer"] == "uid:bob"
    ours = person(tmp_path / "ours", "alice")
    assert run("certified", "get-ident", "--config", ours.path) == run(
        "lclstream", "certified", "export", "--config", ours.path
    )
    assert them.key.stat().st_mode & 0o777 == 0o600
