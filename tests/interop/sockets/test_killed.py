"""Foreign consumers and producers that are killed: what cannot be known is not claimed."""

from __future__ import annotations

import json
import signal

import pytest

pytestmark = pytest.mark.interop


@pytest.fixture
def buffer(processes, tmp_path, venv_bin, wait_for):
    folder = tmp_path / "buffer"

    def start(*options):
        running = processes.start(
            [venv_bin / "nng-stream", "run", "--directory", folder, *map(str, options)]
        )
        wait_for((folder / "endpoints.json").exists, what="the buffer")
        return running, json.loads((folder / "endpoints.json").read_text())

    start.ledger = lambda: json.loads((folder / "ledger.json").read_text())
    return start


@pytest.mark.parametrize(("library", "protocol"), [("pynng", "nng"), ("zmq", "zmq")])
def test_a_killed_foreign_consumer_makes_the_stream_doubtful(
    buffer, foreign, processes, tmp_path, venv_bin, wait_for, library, protocol
):
    running, places = buffer("--expected-producers", 1, "--limit", "4MiB")
    victim = foreign(f"pull_{library}", places["outlets"][protocol], "dial")
    wait_for(lambda: "begun" in victim.stdout, what="the consumer")
    file = tmp_path / "close"
    pusher = foreign("push_pynng", places["inlets"]["nng"], "dial", "p", 2000, 100_000, file)
    wait_for(lambda: victim.stdout.count("\n") > 20, what="the consumer's first messages")
    victim.process.send_signal(signal.SIGKILL)
    victim.wait()
    pulled = processes.start(
        [venv_bin / "lclstream", "pull", places["outlets"]["nng"], "--discard", "--json"]
    )
    file.touch()
    assert pusher.wait() == 0
    assert running.wait(60) == 74
    assert pulled.wait() == 74  # it is told that not all of the stream is certain
    ledger = buffer.ledger()
    (problem,) = ledger["problems"]
    assert "may be lost" in problem
    assert json.loads(pulled.stdout)["problems"] == [f"nng-stream: {problem}"]
    assert ledger["received"]["messages"] == 2000
    taken = json.loads(pulled.stdout)["messages"]
    assert ledger["acknowledged"]["messages"] == taken
    assert ledger["unconfirmed"]["messages"] == 2000 - taken


@pytest.mark.parametrize(("library", "protocol"), [("pynng", "nng"), ("zmq", "zmq")])
def test_a_killed_foreign_producer_ends_its_stream_and_the_other_goes_on(
    buffer, foreign, processes, tmp_path, venv_bin, wait_for, library, protocol
):
    running, places = buffer("--expected-producers", 2)
    pulled = processes.start(
        [venv_bin / "lclstream", "pull", places["outlets"]["nng"], "--discard", "--json"]
    )
    never, file = tmp_path / "never", tmp_path / "close"
    url = places["inlets"][protocol]
    victim = foreign(f"push_{library}", url, "dial", "victim", 50, 1000, never)
    other = foreign(f"push_{library}", url, "dial", "other", 50, 1000, file)

    def received():
        told = processes.run([venv_bin / "nng-stream", "status", tmp_path / "buffer", "--json"])
        return json.loads(told.stdout)["received"]["messages"]

    wait_for(lambda: received() == 100, what="100 messages")
    victim.process.send_signal(signal.SIGKILL)
    victim.wait()
    file.touch()
    assert other.wait() == 0
    running.wait()
    assert pulled.wait() == 0
    ledger = buffer.ledger()
    assert ledger["received"]["messages"] == ledger["acknowledged"]["messages"] == 100
    assert {producer["end"] for producer in ledger["producers"]} == {"disconnected"}
    assert ledger["state"] == "completed", ledger["problems"]
