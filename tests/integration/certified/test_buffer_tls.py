"""A real buffer, producer and consumer as programs, every hop under mutual TLS."""

from __future__ import annotations

import json
import urllib.request

import pytest
from identities import LOOPBACK, introduce, person, service

from airflow_provider_lclstream.certified.trust import trust_authority


@pytest.fixture
def identities(tmp_path):
    """A buffer, and a producer and consumer it knows."""
    buffer = service(tmp_path / "buffer-identity", "buffer")
    made = {}
    for name in ("producer", "consumer"):
        made[name] = person(tmp_path / f"{name}-identity", name)
        introduce(buffer, made[name], name)
        trust_authority(made[name].known_servers, "buffer", buffer.read_authority())
    return buffer, made["producer"], made["consumer"]


def as_(folder):
    return {"LCLSTREAM_IDENTITY": str(folder.path)}


def test_files_go_through_a_buffer_and_every_peer_is_named(
    identities, processes, tmp_path, wait_for
):
    buffer, producer, consumer = identities
    folder = tmp_path / "buffer"
    place = f"tls+tcp://{LOOPBACK}:0"
    running = processes.start(
        ["nng-stream", "run", "--directory", folder, "--expected-producers", "1",
         "--inlet", place, "--outlet", place, "--idle-timeout", "60s"],
        environment=as_(buffer),
    )  # fmt: skip
    published = folder / "endpoints.json"
    wait_for(lambda: published.exists() or running.process.poll() is not None)
    endpoints = json.loads(published.read_text())
    inlet, outlet = endpoints["inlets"]["nng"], endpoints["outlets"]["nng"]
    assert inlet.startswith("tls+tcp://")
    files = []
    for number in range(20):
        path = tmp_path / f"file{number:02d}"
        path.write_bytes(bytes([number]) * 300_000)
        files.append(path)

    plain = processes.start(["lclstream", "push", files[0], inlet.replace("tls+tcp", "tcp")])
    pull = processes.start(
        ["lclstream", "pull", outlet, "-o", tmp_path / "got", "--json"], environment=as_(consumer)
    )
    push = processes.run(["lclstream", "push", *files, inlet], environment=as_(producer))
    assert push.process.returncode == 0, push.stderr
    assert pull.wait(30) == 0, pull.stderr
    assert running.wait(30) == 0, running.stderr
    plain.stop()
    assert json.loads(pull.stdout.splitlines()[-1])["messages"] == 20
    got = sorted(path.read_bytes() for path in (tmp_path / "got").iterdir())
    assert got == [path.read_bytes() for path in files]
    ledger = json.loads((folder / "ledger.json").read_text())
    assert ledger["state"] == "completed"
    assert ledger["received"] == ledger["acknowledged"]
    assert len(ledger["producers"]) == 1


def test_a_stranger_gets_nothing_of_a_stream(identities, processes, tmp_path, wait_for):
    buffer, _, _ = identities
    folder = tmp_path / "buffer"
    place = f"tls+tcp://{LOOPBACK}:0"
    running = processes.start(
        ["nng-stream", "run", "--directory", folder, "--inlet", place, "--outlet", place],
        environment=as_(buffer),
    )
    published = folder / "endpoints.json"
    wait_for(lambda: published.exists() or running.process.poll() is not None)
    outlet = json.loads(published.read_text())["outlets"]["nng"]
    stranger = person(tmp_path / "stranger", "consumer")
    trust_authority(stranger.known_servers, "buffer", buffer.read_authority())
    pull = processes.run(
        ["lclstream", "pull", outlet, "-o", tmp_path / "got"], environment=as_(stranger)
    )
    assert pull.process.returncode != 0
    assert "Traceback" not in pull.stderr + running.stderr
    assert not (tmp_path / "got").exists() or not list((tmp_path / "got").iterdir())


def test_only_who_is_allowed_gets_anything(identities, processes, tmp_path, wait_for):
    buffer, producer, consumer = identities
    folder, place = tmp_path / "buffer", f"tls+tcp://{LOOPBACK}:0"
    words = ["nng-stream", "run", "--directory", folder, "--expected-producers", "1",
             "--inlet", place, "--outlet", place, "--idle-timeout", "60s",
             "--allow-consumer", "uid:consumer"]  # fmt: skip
    running = processes.start(words, environment=as_(buffer))
    published = folder / "endpoints.json"
    wait_for(lambda: published.exists() or running.process.poll() is not None)
    endpoints = json.loads(published.read_text())
    inlet, outlet = endpoints["inlets"]["nng"], endpoints["outlets"]["nng"]

    # The producer's certificate is trusted, but it may not consume.
    told = processes.run(
        ["lclstream", "pull", outlet, "--discard", "--timeout", "2"], environment=as_(producer)
    )
    assert told.process.returncode == 69, told.stderr
    assert "is not among the allowed peers" in running.stderr
    assert "uid:producer" in running.stderr
    with urllib.request.urlopen(endpoints["admin"] + "/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    assert 'lclstream_buffer_refused_connections_total{side="outlet"} 1' in metrics

    file = tmp_path / "file"
    file.write_bytes(b"all there is")
    pull = processes.start(["lclstream", "pull", outlet, "--discard"], environment=as_(consumer))
    push = processes.run(["lclstream", "push", file, inlet], environment=as_(producer))
    assert (push.process.returncode, pull.wait(30), running.wait(30)) == (0, 0, 0), running.stderr
    ledger = json.loads((folder / "ledger.json").read_text())
    assert ledger["refused_connections"] == {"producers": 0, "consumers": 1}
    assert len(ledger["consumers"]) == 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--allow", "uid:alice"], "inlets"),
        (["--inlet", "tls+tcp://127.0.0.1:0", "--allow-consumer", "uid:alice"], "outlets"),
    ],
)
def test_to_allow_somebody_without_tls_is_a_mistake(processes, tmp_path, options, word):
    told = processes.run(["nng-stream", "run", "--directory", tmp_path, *options])
    assert told.process.returncode == 78
    assert f"give {word} as tls+tcp:// URLs alone" in told.stderr
