"""Contexts: TLS 1.3 and both sides verified, whatever other libraries set on them."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from identities import LOOPBACK, introduce, person, service, stem_of

from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.certificates import build_list
from airflow_provider_lclstream.certified.contexts import client_settings, server_settings
from airflow_provider_lclstream.certified.files import write_file
from lclstreamer.core.errors import BadInputError, ConfigurationError, PermissionDeniedError
from lclstreamer.transport import tls
from lclstreamer.transport.tls import (
    Credential,
    PeerRefusedError,
    TlsSettings,
    client_context,
    peer_of,
    server_context,
    why_refused,
)


@pytest.fixture
def pair(tmp_path):
    server = service(tmp_path / "server")
    client = person(tmp_path / "client", "alice")
    introduce(server, client, "alice", alias="psik", url=f"https://{LOOPBACK}:1")
    return server, client


def settings_of(pair):
    from airflow_provider_lclstream.certified.trust import read_service

    return server_settings(pair[0]), client_settings(pair[1], read_service(pair[1], "psik"))


def open_files() -> set[str]:
    """What this process has open."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = LOOPBACK):
    """Connect over real sockets; the peer each side sees, or the error it got."""
    listener = socket.create_server((LOOPBACK, 0))
    results = {}

    def accept():
        connection, _ = listener.accept()
        connection.settimeout(10)
        try:
            with server.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.sendall(b"hello")
                results["server"] = peer_of(wrapped)
        except OSError as error:
            connection.close()
            results["server"] = error

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        with client.wrap_socket(
            socket.create_connection(listener.getsockname(), timeout=10), server_hostname=name
        ) as wrapped:
            results["version"] = wrapped.version()
            results["client"] = peer_of(wrapped)
            results["received"] = wrapped.recv(5)
    except OSError as error:
        results["client"] = error
    thread.join(10)
    listener.close()
    return results


def test_both_sides_know_each_other_over_tls_1_3(pair):
    server, client = settings_of(pair)
    seen = handshake(server_context(server), client_context(client))
    assert seen["version"] == "TLSv1.3"
    assert seen["received"] == b"hello"
    assert seen["server"].principal == "uid:alice"
    assert seen["server"].owner.startswith("uid:alice@")
    assert seen["client"].principal == "cn:psik"
    assert seen["client"].hosts == (LOOPBACK,)


def test_tls_1_2_is_refused(pair):
    server, _ = settings_of(pair)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    seen = handshake(server_context(server), old)
    assert isinstance(seen["server"], ssl.SSLError)
    assert isinstance(seen["client"], ssl.SSLError)


def test_a_client_without_a_certificate_is_refused(pair):
    server, client = settings_of(pair)
    seen = handshake(server_context(server), client_context(replace(client, credential=None)))
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in str(seen["server"])


def test_the_server_must_have_the_name_that_was_asked_for(pair):
    server, client = settings_of(pair)
    seen = handshake(server_context(server), client_context(client), name="localhost")
    assert isinstance(seen["client"], ssl.SSLCertVerificationError)


def test_only_allowed_peers_connect(pair):
    server, client = settings_of(pair)
    for allowed, expected in ((["uid:alice"], True), (["uid:bob"], False), ([], False)):
        context = server_context(replace(server, allowed_peers=frozenset(allowed)))
        seen = handshake(context, client_context(client))
        assert (not isinstance(seen["server"], OSError)) is expected, allowed
    assert "not among the allowed peers" in str(seen["server"])


def test_nothing_set_from_outside_weakens_the_verification(pair, tmp_path):
    _, client = settings_of(pair)
    context = client_context(client)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    stranger = service(tmp_path / "stranger")
    seen = handshake(server_context(server_settings(stranger)), context)
    assert isinstance(seen["client"], ssl.SSLCertVerificationError)


def test_a_revoked_client_is_refused_by_a_context_that_is_in_use(pair, monkeypatch):
    monkeypatch.setattr(tls, "LOOK_AGAIN_SECONDS", 0)
    server, client = settings_of(pair)
    context, client_side = server_context(server), client_context(client)
    peer = handshake(context, client_side)["server"]
    assert why_refused(context, peer) is None
    Authority(pair[0]).revoke("uid:alice", reason="lost")
    seen = handshake(context, client_side)
    assert isinstance(seen["server"], PeerRefusedError)
    assert "is revoked" in seen["server"].reason
    assert "is revoked" in why_refused(context, peer)


def test_a_revoked_server_is_refused_by_its_clients(pair, monkeypatch):
    monkeypatch.setattr(tls, "LOOK_AGAIN_SECONDS", 0)
    server, client = settings_of(pair)
    authority = Authority(pair[0])
    authority.revoke("cn:psik", reason="lost")
    lists = replace(client, revocation_lists=(authority.list_file,))
    seen = handshake(server_context(server), client_context(lists))
    assert isinstance(seen["client"], PeerRefusedError)


def test_a_vanished_or_older_list_revokes_no_less(pair, monkeypatch):
    monkeypatch.setattr(tls, "LOOK_AGAIN_SECONDS", 0)
    server, client = settings_of(pair)
    authority = Authority(pair[0])
    before = authority.list_file.read_bytes()
    authority.revoke("uid:alice", reason="lost")
    context = server_context(server)
    write_file(authority.list_file, before)
    assert isinstance(handshake(context, client_context(client))["server"], PeerRefusedError)
    authority.list_file.unlink()
    assert isinstance(handshake(context, client_context(client))["server"], PeerRefusedError)


def test_a_damaged_list_stops_a_start_and_leaves_a_running_server_as_it_was(
    pair, monkeypatch, caplog
):
    monkeypatch.setattr(tls, "LOOK_AGAIN_SECONDS", 0)
    server, client = settings_of(pair)
    context = server_context(server)
    Authority(pair[0]).list_file.write_bytes(b"-----BEGIN X509 CRL-----\nrubbish\n")
    with caplog.at_level(logging.ERROR):
        assert not isinstance(handshake(context, client_context(client))["server"], OSError)
    assert "cannot be used" in caplog.text
    with pytest.raises(BadInputError, match="no revocation list"):
        server_context(server)


def test_a_stale_list_is_refused_where_that_is_wanted(pair):
    server, client = settings_of(pair)
    authority = Authority(pair[0])
    stale = build_list(
        authority.certificate,
        pair[0].read_authority_key(),
        99,
        {},
        timedelta(days=1),
        now=datetime.now(UTC) - timedelta(days=2),
    )
    authority.list_file.write_bytes(stale)
    seen = handshake(server_context(server), client_context(client))
    assert not isinstance(seen["server"], OSError)
    strict = server_context(replace(server, refuse_stale_lists=True))
    seen = handshake(strict, client_context(client))
    assert "revocation list" in str(seen["server"])


def test_renewed_files_serve_the_next_connection_and_keep_the_open_one(pair, monkeypatch):
    monkeypatch.setattr(tls, "LOOK_AGAIN_SECONDS", 0)
    server, client = settings_of(pair)
    context = client_context(client)
    first = handshake(server_context(server), context)["server"]
    introduce(pair[0], pair[1], "alice")
    second = handshake(server_context(server), context)["server"]
    assert first.serial != second.serial


def test_a_key_that_others_can_read_is_refused(pair):
    server, _ = settings_of(pair)
    pair[0].key.chmod(0o640)
    with pytest.raises(PermissionDeniedError, match="0640") as caught:
        server_context(server)
    assert "chmod 600" in caught.value.mend


def test_wrong_files_are_named(pair, tmp_path):
    server, client = settings_of(pair)
    with pytest.raises(ConfigurationError, match="needs a certificate"):
        server_context(replace(server, credential=None))
    with pytest.raises(ConfigurationError, match="nobody could be trusted"):
        client_context(replace(client, authorities=()))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        client_context(replace(client, authorities=("no certificate",)))
    mixed = Credential(pair[0].certificate, pair[1].key)
    with pytest.raises(ConfigurationError, match="key values mismatch"):
        server_context(replace(server, credential=mixed))
    missing = Credential(pair[0].certificate, tmp_path / "nowhere.key")
    with pytest.raises(ConfigurationError, match="No such file"):
        server_context(replace(server, credential=missing))


def test_an_encrypted_key_needs_its_passphrase(tmp_path):
    folder = service(tmp_path / "server", passphrase="correct horse")
    settings = TlsSettings(
        Credential(folder.certificate, folder.key, lambda: "correct horse"),
        (folder.known_clients,),
    )
    server_context(settings)
    for wrong in (lambda: "battery staple", None):
        credential = Credential(folder.certificate, folder.key, wrong)
        with pytest.raises(ConfigurationError, match="passphrase"):
            server_context(replace(settings, credential=credential))


def test_pem_text_stays_in_memory(pair, tmp_path):
    server, client = settings_of(pair)
    text = Credential(client.credential.certificate.read_text(), client.credential.key.read_text())
    before = open_files()
    context = client_context(replace(client, credential=text))
    assert len(open_files() - before) <= 1
    assert handshake(server_context(server), context)["server"].principal == "uid:alice"
    assert "PRIVATE" not in repr(replace(client, credential=text))


def test_asyncio_and_uvloop_use_the_same_check(pair, monkeypatch):
    import uvloop

    monkeypatch.setattr(tls, "LOOK_AGAIN_SECONDS", 0)
    server, client = settings_of(pair)

    async def connect() -> bytes:
        listening, connecting = server_context(server), client_context(client)

        async def answer(_reader, writer):
            writer.write(peer_of(writer.get_extra_info("ssl_object")).principal.encode())
            writer.close()

        async with await asyncio.start_server(answer, LOOPBACK, 0, ssl=listening) as listener:
            port = listener.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(
                LOOPBACK, port, ssl=connecting, server_hostname=LOOPBACK
            )
            try:
                return await asyncio.wait_for(reader.read(), 10)
            except OSError:
                return b""
            finally:
                writer.close()

    for run in (asyncio.run, uvloop.run):
        assert run(connect()) == b"uid:alice"
    Authority(pair[0]).revoke("uid:alice", reason="lost")
    for run in (asyncio.run, uvloop.run):
        assert run(connect()) == b""


def test_the_files_are_not_looked_at_for_every_connection(pair, monkeypatch):
    server, _ = settings_of(pair)
    context = server_context(server)
    looks, real, began = [], tls.state_of_files, time.monotonic()
    monkeypatch.setattr(tls, "state_of_files", lambda *files: looks.append(1) or real(*files))
    for _ in range(1000):
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    assert len(looks) <= (time.monotonic() - began) / tls.LOOK_AGAIN_SECONDS + 1 < 100
    assert stem_of(pair[0]).startswith("P=Signing Certificate")
