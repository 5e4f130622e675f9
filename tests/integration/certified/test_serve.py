"""Real servers and real clients in processes of their own."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time

import pytest
from identities import LOOPBACK, introduce, person, service

from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.clients import (
    async_http_client,
    requests_session,
    service_client,
)
from airflow_provider_lclstream.certified.contexts import client_ssl_context
from airflow_provider_lclstream.certified.trust import read_service
from lclstreamer.transport.peer import identity_of

APPLICATION = """
import asyncio, json

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(2)
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    peer = scope["state"]["peer"]
    status = 404 if scope["path"] == "/missing" else 500 if scope["path"] == "/broken" else 200
    answer = {"peer": peer.principal, "serial": peer.serial, "body": body.decode(),
              "method": scope["method"], "tls": scope["extensions"]["tls"]["tls_version"]}
    data = b"x" * 5_000_000 if scope["path"] == "/large" else json.dumps(answer).encode()
    if scope["path"] == "/crash":
        raise RuntimeError("a fault of the application")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
"""


@pytest.fixture
def world(tmp_path, processes, wait_for):
    """A running service and a client introduced to it."""
    (tmp_path / "who.py").write_text(APPLICATION)
    server, client = service(tmp_path / "server"), person(tmp_path / "client", "alice")
    running = serve(tmp_path, processes, wait_for, server)
    introduce(server, client, "alice", alias="psik", url=running.url)
    return server, client, running


def serve(tmp_path, processes, wait_for, folder, *options):
    running = processes.start(
        ["lclstream", "certified", "serve", "who:app", f"https://{LOOPBACK}:0", "--config",
         folder.path, *options],
        cwd=tmp_path,
    )  # fmt: skip
    wait_for(lambda: "startup complete" in running.stderr or running.process.poll() is not None)
    running.url = json.loads(running.stdout.splitlines()[0])["listening"]
    return running


def message(processes, client, *words, code=0):
    done = processes.run(["lclstream", "message", *words, "--config", client.path])
    assert done.process.returncode == code, done.stderr
    return done


def access_lines(running):
    return [json.loads(line) for line in running.stdout.splitlines()[1:]]


def test_message_speaks_like_curl(world, processes, tmp_path, wait_for):
    _, client, _ = world
    answer = json.loads(message(processes, client, "psik/who").stdout)
    assert answer["peer"] == "uid:alice"
    assert answer["method"] == "GET"
    assert answer["tls"] == 0x0304
    posted = json.loads(message(processes, client, "psik/who", '{"a": 1}').stdout)
    assert (posted["method"], posted["body"]) == ("POST", '{"a": 1}')
    (tmp_path / "body.yaml").write_text("a: [1, 2]\n")
    for words, body in (
        (["--yaml", tmp_path / "body.yaml"], '{"a": [1, 2]}'),
        (["-d", "plain", "-X", "put"], "plain"),
        (["-d", f"@{tmp_path / 'body.yaml'}"], "a: [1, 2]\n"),
    ):
        got = json.loads(message(processes, client, "psik/who", *words, "--pp").stdout)
        assert got["body"] == body
    missing = message(processes, client, "psik/missing", code=22)
    assert "404" in missing.stderr
    assert missing.stdout == ""
    message(processes, client, "psik/broken", code=22)
    message(processes, client, "psik/large", "-o", tmp_path / "large", "-v")
    assert (tmp_path / "large").stat().st_size == 5_000_000
    assert len(message(processes, client, "psik/large").stdout) == 5_000_000
    assert "alias" in message(processes, client, "nowhere/x", code=65).stderr
    assert "in time" in message(processes, client, "psik/slow", "--timeout", "0.2", code=75).stderr
    assert "twice" in message(processes, client, "psik/x", "1", "--yaml", "f", code=64).stderr


def test_the_access_log_names_path_status_duration_peer_and_serial(world, processes, wait_for):
    server, client, running = world
    message(processes, client, "psik/who?token=abc123hidden")
    message(processes, client, "psik/crash", code=22)
    first, second = wait_for(lambda: len(access_lines(running)) == 2 and access_lines(running))
    [issue] = Authority(server).record.issues(principal="uid:alice")
    assert (first["path"], first["statusCode"], first["peer"]) == ("/who", 200, "uid:alice")
    assert first["serial"] == issue.serial
    assert 0 < first["process_time"] < 5
    assert first["remote_user"]["userId"] == "alice"
    assert second["statusCode"] == 500
    assert "abc123hidden" not in running.stdout + running.stderr


def test_a_client_without_accept_or_user_agent_is_served(world):
    import socket

    _, client, running = world
    service_entry = read_service(client, "psik")
    context = client_ssl_context(client, service_entry)
    port = int(running.url.rsplit(":", 1)[1])
    with context.wrap_socket(
        socket.create_connection((LOOPBACK, port), timeout=10), server_hostname=LOOPBACK
    ) as wrapped:
        wrapped.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert wrapped.recv(100).startswith(b"HTTP/1.1 200")


def test_every_kind_of_client_uses_the_same_context(world, monkeypatch):
    import aiohttp

    _, client, running = world
    entry = read_service(client, "psik")
    context = client_ssl_context(client, entry)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/hostname")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/hostname")
    with requests_session(context) as session:
        assert session.get(f"{running.url}/who", timeout=10).json()["peer"] == "uid:alice"
    with service_client(client, entry) as http:
        assert http.get("/who").json()["peer"] == "uid:alice"

    async def both() -> list[str]:
        async with (
            async_http_client(context) as first,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as second,
        ):
            reply = await first.get(f"{running.url}/who")
            async with second.get(f"{running.url}/who") as other:
                return [reply.json()["peer"], (await other.json())["peer"]]

    assert asyncio.run(both()) == ["uid:alice", "uid:alice"]


def test_a_revoked_peer_is_refused_on_the_connection_it_has_open(world, wait_for):
    server, client, _ = world
    with service_client(client, read_service(client, "psik")) as http:
        assert http.get("/who").status_code == 200
        Authority(server).revoke("uid:alice", reason="lost")
        reply = wait_for(
            lambda: (got := http.get("/who")).status_code == 403 and got, timeout_seconds=5
        )
        assert "is revoked" in reply.json()["detail"]
        assert reply.json()["mend"]


def test_only_allowed_peers(tmp_path, processes, wait_for):
    (tmp_path / "who.py").write_text(APPLICATION)
    server, client = service(tmp_path / "server"), person(tmp_path / "client", "alice")
    running = serve(tmp_path, processes, wait_for, server, "--allow", "uid:bob")
    introduce(server, client, "alice", alias="psik", url=running.url)
    assert "closed the connection" in message(processes, client, "psik/who", code=69).stderr
    assert "not among the allowed peers" in running.stderr


def test_renewal_and_revocation_by_another_machine(tmp_path, processes, wait_for, free_port):
    """The authority is one process, the service another; they share nothing but HTTP."""
    (tmp_path / "who.py").write_text(APPLICATION)
    facility = service(tmp_path / "facility", "facility")
    ports = free_port(), free_port()
    facility.policy.write_text(
        f"renewal_url: https://{LOOPBACK}:{ports[0]}\n"
        f"revocation_url: http://{LOOPBACK}:{ports[1]}/revoked.crl\n"
    )
    authority = processes.start(
        ["lclstream", "certified", "authority", f"https://{LOOPBACK}:{ports[0]}",
         "--publish", f"http://{LOOPBACK}:{ports[1]}", "--config", facility.path]
    )  # fmt: skip
    wait_for(lambda: authority.stderr.count("startup complete") == 2)
    server, client = service(tmp_path / "server", "psik"), person(tmp_path / "client", "alice")
    introduce(facility, client, "alice")
    introduce(facility, server, "service-account")
    from airflow_provider_lclstream.certified.encoding import to_base64url
    from airflow_provider_lclstream.certified.trust import (
        TrustedService,
        add_service,
        trust_authority,
    )

    trust_authority(server.known_clients, "facility", facility.read_authority())
    running = serve(tmp_path, processes, wait_for, server)
    from identities import stem_of

    entry = TrustedService(running.url, to_base64url(server.read_authority()), [stem_of(facility)])
    add_service(client, "psik", entry)
    before = json.loads(message(processes, client, "psik/who").stdout)["serial"]

    done = processes.run(["lclstream", "certified", "renew", "--json", "--config", client.path])
    assert done.process.returncode == 0, done.stderr
    by_facility = [one for one in json.loads(done.stdout) if "facility" in one["issuer"]]
    after = json.loads(message(processes, client, "psik/who").stdout)["serial"]
    assert [one["serial"] for one in by_facility] == [after]
    assert after != before

    Authority(facility).revoke("uid:alice", reason="lost")
    began = time.monotonic()
    wait_for(lambda: _refused(client), timeout_seconds=10)
    assert time.monotonic() - began < 5
    refused = processes.run(["lclstream", "certified", "renew", "--config", client.path])
    assert refused.process.returncode == 69
    assert "closed the connection" in refused.stderr


def _refused(client) -> bool:
    import httpx2

    try:
        with service_client(client, read_service(client, "psik")) as http:
            return http.get("/who").status_code == 403
    except httpx2.HTTPError:
        return True


def test_a_renewed_server_certificate_is_used_without_dropping_a_connection(
    world, wait_for, processes
):
    server, client, _ = world
    entry = read_service(client, "psik")
    with service_client(client, entry) as http:
        assert http.get("/who").status_code == 200
        network = http.get("/who").extensions["network_stream"].get_extra_info("ssl_object")
        old = identity_of(network.getpeercert(True)).serial
        done = processes.run(["lclstream", "certified", "renew", "--config", server.path])
        assert done.process.returncode == 0

        def serial_of_new_connection() -> str:
            with service_client(client, entry) as other:
                stream = other.get("/who").extensions["network_stream"]
                der = stream.get_extra_info("ssl_object").getpeercert(True)
                return identity_of(der).serial

        wait_for(lambda: serial_of_new_connection() != old, timeout_seconds=5)
        reply = http.get("/who")
        stream = reply.extensions["network_stream"].get_extra_info("ssl_object")
        assert reply.status_code == 200
        assert identity_of(stream.getpeercert(True)).serial == old


class _Loki(http.server.BaseHTTPRequestHandler):
    received: list[dict] = []
    stall = threading.Event()

    def do_POST(self):
        if not type(self).stall.is_set():
            body = self.rfile.read(int(self.headers["Content-Length"]))
            type(self).received.append({"auth": self.headers["Authorization"], **json.loads(body)})
            self.send_response(204)
            self.end_headers()
        else:
            time.sleep(3)

    def log_message(self, *_arguments):
        pass


def test_loki_gets_the_lines_and_never_delays_a_request(tmp_path, processes, wait_for, monkeypatch):
    (tmp_path / "who.py").write_text(APPLICATION)
    loki = http.server.ThreadingHTTPServer((LOOPBACK, 0), _Loki)
    loki.daemon_threads = True
    threading.Thread(target=loki.serve_forever, daemon=True).start()
    settings = tmp_path / "loki.json"
    url = f"http://{LOOPBACK}:{loki.server_port}/loki/api/v1/push"
    settings.write_text(json.dumps({"url": url, "user": "u", "passwd": "hush"}))
    server, client = service(tmp_path / "server"), person(tmp_path / "client", "alice")
    refused = processes.run(
        ["lclstream", "certified", "serve", "who:app", f"https://{LOOPBACK}:0", "--config",
         server.path, "--loki", settings], cwd=tmp_path,
    )  # fmt: skip
    assert refused.process.returncode == 77
    settings.chmod(0o600)
    running = serve(tmp_path, processes, wait_for, server, "--loki", settings)
    introduce(server, client, "alice", alias="psik", url=running.url)
    with service_client(client, read_service(client, "psik")) as http_client:
        for _ in range(3):
            assert http_client.get("/who").status_code == 200
        lines = wait_for(lambda: [value for one in _Loki.received for value in
                                  one["streams"][0]["values"]][2:] and _Loki.received)  # fmt: skip
        assert lines[0]["auth"].startswith("Basic ")
        assert lines[0]["streams"][0]["stream"]["application"] == "who:app"
        assert json.loads(lines[0]["streams"][0]["values"][0][1])["peer"] == "uid:alice"
        _Loki.stall.set()
        began = time.monotonic()
        for _ in range(50):
            assert http_client.get("/who").status_code == 200
        assert time.monotonic() - began < 3
    running.stop()
    loki.shutdown()
    loki.server_close()
    assert "hush" not in running.stdout + running.stderr
