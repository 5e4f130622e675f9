"""Producers, consumers and the buffer itself die or stall; the ledger says what became of it."""

from __future__ import annotations

import json
import signal
import socket

import pytest


def kill(running):
    running.process.send_signal(signal.SIGKILL)
    running.wait()


def test_a_killed_consumer_loses_nothing(buffer, peer, wait_for, taken_by, expected_of):
    running = buffer("--expected-producers", 1)
    victim = peer("consume", running.outlet(), "victim", 0.01)
    producer = peer("produce", running.inlet(), "rank 0", 300, 1000)
    wait_for(lambda: len(taken_by(victim)) > 5, what="the victim's first messages")
    kill(victim)
    other = peer("consume", running.outlet(), "other")
    assert producer.wait() == other.wait() == 0
    code, ledger = running.end()
    assert code == 0, ledger["problems"]
    assert set(taken_by(victim, other)) == set(expected_of(["rank 0"], 300))
    twice = len(taken_by(victim, other)) - 300
    assert twice <= ledger["redelivered"]["messages"]
    facts = {consumer["name"]: consumer for consumer in ledger["consumers"]}
    assert facts["victim"]["end"] == "disconnected"
    assert facts["victim"]["returned_messages"] == ledger["redelivered"]["messages"] > 0
    assert facts["victim"]["acknowledged_messages"] + facts["other"]["acknowledged_messages"] == 300


def test_a_killed_producer_is_named_and_the_others_go_on(buffer, peer, wait_for, taken_by):
    running = buffer("--expected-producers", 2)
    consumer = peer("consume", running.outlet(), "consumer")
    victim = peer("produce", running.inlet(), "rank 0", 10_000, 1000, 0.01)
    other = peer("produce", running.inlet(), "rank 1", 200, 1000)
    wait_for(lambda: sum("rank 0" in line for line in taken_by(consumer)) > 3, what="rank 0")
    kill(victim)
    assert other.wait() == 0
    code, ledger = running.end()
    assert consumer.wait() == 0
    assert code == 74
    assert ledger["state"] == "incomplete"
    (problem,) = ledger["problems"]
    assert problem.startswith("producer rank 0: disconnected without ending its stream (after ")
    facts = {producer["name"]: producer for producer in ledger["producers"]}
    assert facts["rank 0"]["end"] == "disconnected"
    assert facts["rank 1"]["end"] == "end_of_stream"
    received = taken_by(consumer)
    assert sum("rank 1" in line for line in received) == 200
    assert sum("rank 0" in line for line in received) == facts["rank 0"]["messages"]
    assert ledger["undelivered"]["messages"] == 0
    assert ledger["acknowledged"] == ledger["received"]


def test_a_producer_killed_within_a_message_is_told_in_bytes(buffer, peer, wait_for):
    running = buffer("--expected-producers", 1)
    host, port = running.inlet().removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), 5) as plain:
        plain.sendall(b"\0SP\0\0\x50\0\0" + (3).to_bytes(8, "big") + b"abc")
        plain.sendall((1_000_000).to_bytes(8, "big") + bytes(1234))
        wait_for(lambda: running.status()["received"]["messages"] == 1, what="the first message")
    consumer = peer("consume", running.outlet(), "consumer")
    assert consumer.wait() == 0
    code, ledger = running.end()
    assert code == 74
    assert ledger["producers"][0]["lost_bytes"] == 1242
    assert "within a message of which 1242 bytes had come" in ledger["problems"][0]
    assert ledger["received"] == ledger["acknowledged"] == {"messages": 1, "bytes": 3}


def test_what_nobody_takes_is_undelivered(buffer, peer):
    running = buffer("--expected-producers", 1, "--drain-timeout", "300ms")
    producer = peer("produce", running.inlet(), "rank 0", 20, 1000)
    assert producer.wait() == 0
    code, ledger = running.end()
    assert code == 74
    assert ledger["undelivered"] == {"messages": 20, "bytes": 20_000}
    assert any("20 of 20 messages" in problem for problem in ledger["problems"])


def test_what_a_consumer_never_finishes_is_undelivered(buffer, peer, wait_for):
    running = buffer("--expected-producers", 1, "--drain-timeout", "500ms")
    hanging = peer("hang", running.outlet(), "hanging")
    assert peer("produce", running.inlet(), "rank 0", 1, 1000).wait() == 0
    wait_for(lambda: "begun" in hanging.stdout, what="the message in hand")
    code, ledger = running.end()
    assert code == 74
    assert ledger["undelivered"] == {"messages": 1, "bytes": 1000}
    assert ledger["consumers"][0]["returned_messages"] == 1
    hanging.stop(signal.SIGKILL)


def test_what_a_hung_consumer_has_goes_to_another(buffer, peer, wait_for, taken_by, expected_of):
    running = buffer("--expected-producers", 1, "--consumer-timeout", "1s")
    victim = peer("consume", running.outlet(), "victim", 0.01)
    # More messages come all the time: to be sent more is no sign of life.
    producer = peer("produce", running.inlet(), "rank 0", 300, 1000, 0.01)
    wait_for(lambda: len(taken_by(victim)) > 5, what="the victim's first messages")
    victim.process.send_signal(signal.SIGSTOP)
    # Honest, though slow: each message takes it long, but not too long.
    other = peer("consume", running.outlet(), "other", 0.4, 5)
    assert other.wait() == 0
    rest = peer("consume", running.outlet(), "rest")
    assert producer.wait() == rest.wait() == 0
    code, ledger = running.end()
    assert (code, ledger["state"]) == (0, "completed"), ledger["problems"]
    facts = {consumer["name"]: consumer for consumer in ledger["consumers"]}
    assert facts["victim"]["end"] == "stalled"
    assert facts["victim"]["returned_messages"] > 0
    assert facts["other"]["end"] == "disconnected"
    assert ledger["redelivered"]["messages"] >= facts["victim"]["returned_messages"]
    assert "dismissed consumer victim" in running.running.stderr
    victim.process.send_signal(signal.SIGCONT)
    assert victim.wait() == 0
    assert set(taken_by(victim, other, rest)) == set(expected_of(["rank 0"], 300))
    assert "end disconnected" in victim.stdout
    assert "dismissed this consumer: it acknowledged nothing for 1 s" in victim.stderr


def test_a_hung_consumer_is_found_out_within_a_long_message(buffer, peer, wait_for, taken_by):
    running = buffer("--expected-producers", 1, "--consumer-timeout", "1s")
    victim = peer("consume", running.outlet(), "victim")
    wait_for(lambda: running.status()["connected"]["consumers"] == 1, what="the victim")
    victim.process.send_signal(signal.SIGSTOP)
    assert peer("produce", running.inlet(), "rank 0", 1, 100 << 20).wait() == 0
    other = peer("consume", running.outlet(), "other")
    assert other.wait() == 0
    code, ledger = running.end()
    assert code == 0, ledger["problems"]
    assert taken_by(other) == ["rank 0:0"]
    assert [c["end"] for c in ledger["consumers"]] == ["stalled", "end_of_stream"]
    victim.process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_delivers_what_it_has_and_ends(buffer, peer, wait_for, number, taken_by):
    running = buffer()
    consumer = peer("consume", running.outlet(), "consumer", 0.01)
    assert peer("produce", running.inlet(), "rank 0", 50, 1000).wait() == 0
    running.running.process.send_signal(number)
    code, ledger = running.end()
    assert consumer.wait() == 0
    assert code == 0, ledger["problems"]
    assert len(taken_by(consumer)) == 50


def test_draining_cuts_off_a_producer_that_goes_on_and_both_know(buffer, peer, wait_for, taken_by):
    running = buffer("--expected-producers", 1)
    consumer = peer("consume", running.outlet(), "consumer")
    producer = peer("produce", running.inlet(), "rank 0", 100_000, 1000, 0.001)
    wait_for(lambda: len(taken_by(consumer)) > 5, what="the first messages")
    running.drain()
    code, ledger = running.end()
    assert consumer.wait() == 0
    assert producer.wait() != 0
    assert "left after it had taken" in producer.stderr
    assert code == 74
    assert "rank 0" in "".join(ledger["problems"])
    assert "0 of 1 expected producers had ended" in ledger["problems"]
    assert ledger["producers"][0]["end"] == "drained"
    assert len(taken_by(consumer)) == ledger["received"]["messages"]


def test_nobody_comes(buffer):
    running = buffer("--start-timeout", "200ms", "--expected-producers", 3)
    code, ledger = running.end()
    assert code == 74
    assert ledger["problems"] == [
        "no producer came within 0.2 s",
        "0 of 3 expected producers had ended",
    ]


def test_nothing_moves(buffer, peer, wait_for):
    running = buffer("--idle-timeout", "500ms", "--drain-timeout", "300ms")
    producer = peer("produce", running.inlet(), "rank 0", 2, 10, 30)
    wait_for(lambda: running.status()["received"]["messages"] == 1, what="the first message")
    code, ledger = running.end()
    assert code == 74
    assert ledger["problems"][0].startswith("nothing moved for 0.5 s: 1 producers and 0 consumers")
    producer.stop(signal.SIGKILL)


def test_a_buffer_that_is_killed_is_noticed_by_both_sides(buffer, peer, wait_for, taken_by):
    running = buffer("--expected-producers", 1)
    consumer = peer("consume", running.outlet(), "consumer")
    producer = peer("produce", running.inlet(), "rank 0", 100_000, 1000, 0.001)
    wait_for(lambda: len(taken_by(consumer)) > 5, what="the first messages")
    kill(running.running)
    assert consumer.wait() == 0
    assert "end disconnected" in consumer.stdout
    assert producer.wait() != 0
    assert "left after it had taken" in producer.stderr


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--limit", "lots"], 78, "limit_bytes"),
        (["--inlet", "http://x:1"], 78, "inlets"),
        (["--port-range", "5-1"], 78, "lower to the higher"),
        (["--expected-producers", "-1"], 64, "expected-producers"),
        (["--directory", "/proc/none"], 73, "cannot write /proc/none/endpoints.json"),
        (["--config", "/none.yaml"], 65, "cannot read /none.yaml"),
        (["--host", "203.0.113.1"], 69, "cannot listen on tcp://203.0.113.1:0"),
    ],
)
def test_a_wrong_start_is_one_clear_message(processes, venv_bin, tmp_path, options, code, words):
    told = processes.run([venv_bin / "nng-stream", "run", "--directory", tmp_path, *options])
    assert told.process.returncode == code, told.stderr
    assert words in told.stderr
    assert "Traceback" not in told.stderr


def test_ports_in_use_and_a_range_without_free_ports(processes, venv_bin, tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        program = [venv_bin / "nng-stream", "run", "--directory", tmp_path]
        told = processes.run([*program, "--inlet", f"tcp://127.0.0.1:{port}"])
        assert told.process.returncode == 69
        assert "Address already in use" in told.stderr
        told = processes.run([*program, "--port-range", f"{port}-{port}"])
        assert told.process.returncode == 69
        assert f"no port of {port} to {port} is free" in told.stderr


def test_settings_from_a_file_and_mistakes_with_positions(processes, venv_bin, tmp_path):
    file = tmp_path / "buffer.yaml"
    file.write_text("limit_bytes: 1 MiB\nexpectd_producers: 2\nstart_timeout_seconds: -1\n")
    told = processes.run([venv_bin / "nng-stream", "run", "--config", file, "--json"])
    assert told.process.returncode == 78
    errors = json.loads(told.stdout)["error"]["errors"]
    assert {error["path"] for error in errors} == {"expectd_producers", "start_timeout_seconds"}
    assert errors[0]["suggestion"] == "expected_producers"
    assert errors[0]["where"].endswith("buffer.yaml:2:1")
