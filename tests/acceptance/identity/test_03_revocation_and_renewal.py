"""Issue 3, line 3: revoked within 5 s, renewed without dropping a connection, never a restart."""

from __future__ import annotations

import json
import threading
import time

import httpx2
import pytest
from identities import LOOPBACK, introduce, organisation, person, service, stem_of

from airflow_provider_lclstream.certified.clients import http_client, service_client
from airflow_provider_lclstream.certified.contexts import client_ssl_context
from airflow_provider_lclstream.certified.encoding import to_base64url
from airflow_provider_lclstream.certified.trust import (
    TrustedService,
    add_service,
    read_service,
    trust_authority,
)
from lclstreamer.transport.peer import identity_of

LIMIT_SECONDS = 5.0
WHO = "airflow_provider_lclstream.certified.who:app"


@pytest.fixture
def serve(processes, wait_for):
    def start(folder):
        running = processes.start(
            ["lclstream", "certified", "serve", WHO, f"https://{LOOPBACK}:0", "--config",
             folder.path]
        )  # fmt: skip
        wait_for(lambda: "startup complete" in running.stderr)
        running.url = json.loads(running.stdout.splitlines()[0])["listening"]
        return running

    return start


def connects(folder) -> bool:
    """Whether a new connection of this client is served."""
    try:
        with service_client(folder, read_service(folder, "psik")) as client:
            return client.get("/who").status_code == 200
    except httpx2.HTTPError:
        return False


def seconds_until_refused(folder) -> float:
    began = time.monotonic()
    while connects(folder):
        assert time.monotonic() - began < 2 * LIMIT_SECONDS
        time.sleep(0.05)
    return time.monotonic() - began


def revoke(processes, authority, principal):
    words = ["lclstream", "certified", "revoke", principal, "--config", authority.path]
    assert processes.run(words).process.returncode == 0


def test_revoked_where_the_authority_is(tmp_path, serve, processes, figure):
    server, alice = service(tmp_path / "server"), person(tmp_path / "alice", "alice")
    running = serve(server)
    introduce(server, alice, "alice", alias="psik", url=running.url)
    assert connects(alice)
    revoke(processes, server, "uid:alice")
    taken = seconds_until_refused(alice)
    assert taken < LIMIT_SECONDS
    figure("seconds_until_refused_same_machine", taken)
    assert running.process.poll() is None


def test_revoked_by_an_authority_on_another_machine(
    tmp_path, serve, processes, wait_for, free_port, figure
):
    """The service has no file of the authority: it learns of it over HTTP, from the signed list."""
    authority = organisation(tmp_path / "authority", "facility")
    renewal, lists = free_port(), free_port()
    authority.policy.write_text(
        f"renewal_url: https://{LOOPBACK}:{renewal}\n"
        f"revocation_url: http://{LOOPBACK}:{lists}/revoked.crl\n"
    )
    running = processes.start(
        ["lclstream", "certified", "authority", f"https://{LOOPBACK}:{renewal}", "--publish",
         f"http://{LOOPBACK}:{lists}", "--config", authority.path]
    )  # fmt: skip
    wait_for(lambda: running.stderr.count("startup complete") == 2)
    server, alice = service(tmp_path / "server"), person(tmp_path / "alice", "alice")
    introduce(authority, server, "psik-service")
    trust_authority(server.known_clients, "facility", authority.read_authority())
    url = serve(server).url
    introduce(authority, alice, "alice")
    entry = TrustedService(url, to_base64url(server.read_authority()), [stem_of(authority)])
    add_service(alice, "psik", entry)
    assert connects(alice)
    revoke(processes, authority, "uid:alice")
    taken = seconds_until_refused(alice)
    assert taken < LIMIT_SECONDS
    figure("seconds_until_refused_over_http", taken)


def test_renewed_under_load_without_dropping_a_connection(tmp_path, serve, processes, figure):
    server, alice = service(tmp_path / "server"), person(tmp_path / "alice", "alice")
    running = serve(server)
    introduce(server, alice, "alice", alias="psik", url=running.url)
    context = client_ssl_context(alice, read_service(alice, "psik"))
    stop, failures, counts = threading.Event(), [], [0] * 10
    ports: list[set[str]] = [set() for _ in range(10)]

    def work(number: int) -> None:
        with http_client(context, base_url=running.url) as client:
            while not stop.is_set():
                try:
                    reply = client.get("/who")
                    local = reply.extensions["network_stream"].get_extra_info("client_addr")
                    ports[number].add(str(local))
                    counts[number] += 1
                    if reply.status_code != 200:
                        failures.append(reply.status_code)
                except httpx2.HTTPError as error:
                    failures.append(error)
                time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    try:
        before = server_serial(alice)
        began = time.monotonic()
        renewed = processes.run(["lclstream", "certified", "renew", "--config", server.path])
        assert renewed.process.returncode == 0
        while server_serial(alice) == before:
            assert time.monotonic() - began < LIMIT_SECONDS
            time.sleep(0.05)
        taken = time.monotonic() - began
        time.sleep(1)
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert failures == []
    assert min(counts) > 5
    assert all(len(mine) == 1 for mine in ports), "a connection was dropped and made again"
    figure("seconds_until_renewed_certificate_is_served", taken)
    figure("requests_during_renewal_none_failed", sum(counts))


def server_serial(folder) -> str:
    """The serial number of the certificate that a new connection gets to see."""
    with service_client(folder, read_service(folder, "psik")) as client:
        stream = client.get("/who").extensions["network_stream"]
        return identity_of(stream.get_extra_info("ssl_object").getpeercert(True)).serial
