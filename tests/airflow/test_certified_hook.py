"""The hook to services under mutual TLS: a real server, tasks and triggers as its clients."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from identities import LOOPBACK, introduce, person, service

from airflow_provider_lclstream.hooks.certified import CertifiedHook
from lclstreamer.core.errors import ConfigurationError

pytestmark = pytest.mark.airflow

WHO = "airflow_provider_lclstream.certified.who:app"


@pytest.fixture
def world(tmp_path, processes, wait_for):
    server, client = service(tmp_path / "server"), person(tmp_path / "client", "airflow")
    running = processes.start(
        ["lclstream", "certified", "serve", WHO, f"https://{LOOPBACK}:0", "--config", server.path]
    )
    wait_for(lambda: "startup complete" in running.stderr)
    running.url = json.loads(running.stdout.splitlines()[0])["listening"]
    introduce(server, client, "airflow", alias="psik", url=running.url)
    return server, client, running


@pytest.fixture
def connection(monkeypatch):
    def define(host, port=None, **extra):
        document = {"conn_type": "certified", "host": host, "port": port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_CERTIFIED_DEFAULT", json.dumps(document))
        return CertifiedHook()

    return define


def pem_of(server, client) -> dict[str, str]:
    [signed] = [path for path in client.client_certificates.glob("*.crt") if "psik" in path.name]
    return {
        "certificate": signed.read_text(),
        "private_key": client.key.read_text(),
        "authorities": server.authority_certificate.read_text(),
    }


async def ask_async(hook) -> str:
    async with await hook.get_async_conn() as client:
        return (await client.get("/who")).json()["principal"]


def test_tasks_and_triggers_are_who_the_folder_says(world, connection):
    _, client, running = world
    hook = connection("psik", identity=str(client.path))
    with hook.get_conn() as http:
        assert http.get("/who").json()["principal"] == "uid:airflow"
    with hook.get_session() as session:
        assert session.get(f"{hook.url}/who", timeout=10).json()["principal"] == "uid:airflow"
    assert asyncio.run(ask_async(connection("psik", identity=str(client.path)))) == "uid:airflow"
    assert hook.url == running.url


def test_pem_text_from_a_secrets_backend_does_as_well(world, connection, caplog):
    server, client, running = world
    texts = pem_of(server, client)
    port = int(running.url.rsplit(":", 1)[1])
    hook = connection(LOOPBACK, port, **texts)
    with caplog.at_level(logging.DEBUG), hook.get_conn() as http:
        assert http.get("/who").json()["principal"] == "uid:airflow"
    assert asyncio.run(ask_async(connection(running.url, **texts))) == "uid:airflow"
    assert texts["private_key"].splitlines()[1] not in caplog.text + repr(vars(hook))


def test_the_connection_can_be_tested(world, connection, tmp_path):
    server, client, running = world
    assert connection("psik", identity=str(client.path)).test_connection()[0]
    stranger = person(tmp_path / "stranger", "stranger")
    (stranger.known_servers / "psik.crt").write_text(server.authority_certificate.read_text())
    ok, why = connection(running.url, identity=str(stranger.path)).test_connection()
    assert not ok
    assert "closed the connection" in why
    ok, why = connection("nowhere", identity=str(client.path)).test_connection()
    assert not ok
    assert "alias" in why


def test_half_an_identity_is_refused(world, connection):
    server, client, _ = world
    texts = pem_of(server, client)
    del texts["private_key"]
    with pytest.raises(ConfigurationError, match="lacks private_key"):
        connection("psik", **texts).get_conn()
    with pytest.raises(ConfigurationError, match="names no service"):
        connection("").get_conn()
