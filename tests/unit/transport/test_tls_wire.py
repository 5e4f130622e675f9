"""Messages under mutual TLS: whole, in order, both ways at once, and only between known peers."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from identities import LOOPBACK, introduce, person, service

from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.trust import trust_authority
from lclstreamer.core.errors import ConfigurationError, UnavailableError
from lclstreamer.transport import tls
from lclstreamer.transport.connect import open_pull, open_push
from lclstreamer.transport.identity import client_settings, server_settings
from lclstreamer.transport.tls import client_context, server_context
from lclstreamer.transport.tls_wire import secure_dialer, secure_listener
from lclstreamer.transport.url import parse_endpoint


@pytest.fixture
def pair(tmp_path):
    """A buffer's identity and that of a consumer it knows."""
    server, client = service(tmp_path / "buffer", "buffer"), person(tmp_path / "client", "alice")
    introduce(server, client, "alice")
    trust_authority(client.known_servers, "buffer", server.read_authority())
    return server, client


@pytest.fixture
def wires(pair):
    """Two connected wires."""
    made = []

    def connect():
        listener = socket.create_server((LOOPBACK, 0))
        accepted = {}

        def accept():
            connection, _ = listener.accept()
            try:
                context = server_context(server_settings(pair[0].path))
                accepted["wire"] = secure_listener(context)(connection)
            except OSError as error:
                connection.close()
                accepted["error"] = error

        thread = threading.Thread(target=accept)
        thread.start()
        raw = socket.create_connection(listener.getsockname())
        try:
            context = client_context(client_settings(pair[1].path))
            dialed = secure_dialer(context, LOOPBACK)(raw)
        finally:
            thread.join(15)
            listener.close()
        if "error" in accepted:
            dialed.close()
            raise accepted["error"]
        made.extend([dialed, accepted["wire"]])
        return made

    yield connect
    for wire in made:
        wire.close()


def read_all(wire, count):
    data = bytearray(count)
    view, got, deadline = memoryview(data), 0, time.monotonic() + 30
    while got < count and time.monotonic() < deadline:
        read = wire.receive_into(view[got : got + 70_000], fill=got % 2 == 0)
        if read == 0:
            break
        got += max(0, read)
    return bytes(data[:got])


def send_all(wire, data):
    view, deadline = memoryview(data), time.monotonic() + 30
    while view and time.monotonic() < deadline:
        view = view[wire.send([view[:100_000], view[100_000:300_000]]) :]


def test_both_sides_know_each_other(wires):
    dialed, accepted = wires()
    assert accepted.identity.principal == "uid:alice"
    assert dialed.identity.principal == "cn:buffer"
    assert accepted.peer.endswith("(uid:alice)")


def test_bytes_arrive_whole_in_both_directions_at_once(wires):
    dialed, accepted = wires()
    there, back = os.urandom(20_000_000), os.urandom(20_000_000)
    senders = [
        threading.Thread(target=send_all, args=pair) for pair in ((dialed, there), (accepted, back))
    ]
    got = {}
    readers = [
        threading.Thread(target=lambda w=wire, n=name: got.update({n: read_all(w, 20_000_000)}))
        for wire, name in ((accepted, "there"), (dialed, "back"))
    ]
    for thread in senders + readers:
        thread.start()
    for thread in senders + readers:
        thread.join(60)
    assert got["there"] == there
    assert got["back"] == back
    assert dialed.unsent_bytes() == 0


def test_a_reader_waits_a_tick_and_no_longer(wires):
    dialed, _ = wires()
    began = time.monotonic()
    assert dialed.receive_into(memoryview(bytearray(10)), wait=False) == -1
    assert dialed.receive_into(memoryview(bytearray(10))) == -1
    assert time.monotonic() - began < 2


def test_the_end_is_told_and_the_other_direction_stays_open(wires):
    dialed, accepted = wires()
    send_all(dialed, b"last words")
    dialed.finish()
    assert read_all(accepted, 10) == b"last words"
    assert accepted.receive_into(memoryview(bytearray(1))) == 0
    send_all(accepted, b"thanks")
    assert read_all(dialed, 6) == b"thanks"


def test_a_slow_reader_holds_the_sender_back_within_bounds(wires):
    dialed, accepted = wires()
    sent = refused = 0
    block = bytes(1 << 20)
    while refused < 2:
        taken = dialed.send([block])
        sent += taken
        refused = refused + 1 if taken == 0 else 0
        assert sent < 200 << 20, "nothing holds the sender back"
    assert sum(map(len, dialed._unsent)) < 1 << 20
    reader = threading.Thread(target=read_all, args=(accepted, sent))
    reader.start()
    reader.join(0.05)
    while dialed.unsent_bytes():
        dialed.receive_into(memoryview(bytearray(1)))  # flushes what is left over
    reader.join(30)
    assert not reader.is_alive()


def test_a_peer_that_says_nothing_is_given_up(pair, monkeypatch):
    from lclstreamer.transport import tls_wire

    monkeypatch.setattr(tls_wire, "HANDSHAKE_SECONDS", 0.5)
    silent = socket.create_server((LOOPBACK, 0))
    raw = socket.create_connection(silent.getsockname())
    context = client_context(client_settings(pair[1].path))
    began = time.monotonic()
    with pytest.raises(OSError, match="no TLS handshake in time"):
        secure_dialer(context, LOOPBACK)(raw)
    assert time.monotonic() - began < 5
    raw.close()
    silent.close()


def test_urls_ask_for_tls():
    endpoint = parse_endpoint("tls+tcp://buffer.example.org:5000")
    assert (endpoint.protocol, endpoint.is_secure) == ("nng", True)
    assert str(endpoint.with_port(6000)) == "tls+tcp://buffer.example.org:6000"
    assert not parse_endpoint("tcp://h:1").is_secure


def test_a_stream_over_tls_with_the_identity_of_the_environment(pair, monkeypatch):
    server, client = pair
    monkeypatch.setenv("LCLSTREAM_IDENTITY", str(server.path))
    pull = open_pull(f"tls+tcp://{LOOPBACK}:0", listen=True, timeout_seconds=20)
    monkeypatch.setenv("LCLSTREAM_IDENTITY", str(client.path))
    got = []
    taker = threading.Thread(target=lambda: got.extend(bytes(message) for message in pull))
    taker.start()
    with open_push(str(pull.endpoint), timeout_seconds=20) as push:
        for number in range(100):
            push.send(str(number).encode() * 1000, timeout_seconds=20)
        report = push.close(timeout_seconds=20)
    taker.join(20)
    pull.close()
    assert got == [str(number).encode() * 1000 for number in range(100)]
    assert report.confirmed_messages == 100
    assert pull.end.reason == "end_of_stream"


def test_strangers_and_plain_peers_are_turned_away(pair, monkeypatch, tmp_path):
    server, client = pair
    monkeypatch.setattr(tls, "LOOK_AGAIN_SECONDS", 0)
    monkeypatch.setenv("LCLSTREAM_IDENTITY", str(server.path))
    pull = open_pull(f"tls+tcp://{LOOPBACK}:0", listen=True, timeout_seconds=20)
    place = str(pull.endpoint)
    stranger = person(tmp_path / "stranger", "alice")
    monkeypatch.setenv("LCLSTREAM_IDENTITY", str(stranger.path))
    with pytest.raises(UnavailableError, match="not the server that is trusted"):
        open_push(place, timeout_seconds=20)
    trust_authority(stranger.known_servers, "buffer", server.read_authority())
    with pytest.raises(UnavailableError):
        open_push(place, timeout_seconds=1)
    with pytest.raises(UnavailableError):
        open_push(place.replace("tls+tcp", "tcp"), timeout_seconds=1)
    Authority(server).revoke("uid:alice", reason="lost")
    monkeypatch.setenv("LCLSTREAM_IDENTITY", str(client.path))
    with pytest.raises(UnavailableError):
        open_push(place, timeout_seconds=1)
    pull.close()


def test_without_an_identity_the_mend_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("LCLSTREAM_IDENTITY", str(tmp_path / "nothing"))
    with pytest.raises(ConfigurationError) as caught:
        open_push(f"tls+tcp://{LOOPBACK}:1", timeout_seconds=1)
    assert "lclstream certified" in caught.value.mend
