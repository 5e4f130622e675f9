"""Streams through a real buffer process, undisturbed."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest


@pytest.mark.parametrize("inlet", ["nng", "zmq"])
@pytest.mark.parametrize("outlet", ["nng", "zmq"])
def test_two_producers_two_consumers_every_message_once(
    buffer, peer, wait_for, inlet, outlet, taken_by, expected_of
):
    running = buffer("--expected-producers", 2)
    consumers = [peer("consume", running.outlet(outlet), f"consumer {i}") for i in range(2)]
    for consumer in consumers:
        wait_for(lambda: "begun" in consumer.stdout, what="a consumer")  # noqa: B023
    producers = [peer("produce", running.inlet(inlet), f"rank {i}", 300, 2000) for i in range(2)]
    for producer in producers:
        assert producer.wait() == 0
    code, ledger = running.end()
    for consumer in consumers:
        assert consumer.wait() == 0
    assert code == 0, ledger["problems"]
    assert sorted(taken_by(*consumers)) == expected_of(["rank 0", "rank 1"], 300)
    assert ledger["state"] == "completed"
    assert ledger["received"] == ledger["sent"] == {"messages": 600, "bytes": 1_200_000}
    assert ledger["undelivered"] == ledger["redelivered"] == {"messages": 0, "bytes": 0}
    confirmed = "acknowledged" if outlet == "nng" else "unconfirmed"
    assert ledger[confirmed] == ledger["received"]
    if inlet == "nng":
        ends = {(p["name"], p["messages"], p["end"]) for p in ledger["producers"]}
        assert ends == {("rank 0", 300, "end_of_stream"), ("rank 1", 300, "end_of_stream")}
        reports = [json.loads(producer.stdout.splitlines()[-1]) for producer in producers]
        assert reports == [{"confirmed": 300, "problems": []}] * 2
    if outlet == "nng":
        assert all("end end_of_stream" in consumer.stdout for consumer in consumers)
        assert all(consumer["messages"] > 0 for consumer in ledger["consumers"])


def test_draining_delivers_what_was_received_and_then_ends(
    buffer, peer, wait_for, taken_by, expected_of
):
    running = buffer()
    assert peer("produce", running.inlet(), "rank 0", 50, 1000).wait() == 0
    wait_for(lambda: running.status()["queued"]["messages"] == 50, what="50 queued messages")
    assert running.status()["state"] == "flowing"
    assert running.drain() == 202
    wait_for(lambda: running.status()["state"] == "draining", what="draining")
    consumer = peer("consume", running.outlet(), "consumer")
    assert consumer.wait() == 0
    code, ledger = running.end()
    assert (code, ledger["state"]) == (0, "completed")
    assert sorted(taken_by(consumer)) == expected_of(["rank 0"], 50)


def test_a_file_in_its_folder_drains_it_but_not_the_next_one(buffer, processes, venv_bin, wait_for):
    running = buffer()
    request = running.folder / "drain"
    request.touch()
    code, ledger = running.end()
    assert (code, ledger["received"]["messages"]) == (0, 0)
    (running.folder / "ledger.json").unlink()
    again = processes.start([venv_bin / "nng-stream", "run", "--directory", running.folder])
    wait_for(lambda: not request.exists(), what="the old request is gone")
    assert again.process.poll() is None
    request.touch()
    assert again.wait(20) == 0
    assert (running.folder / "ledger.json").exists()


def test_draining_an_empty_buffer_ends_it_with_an_empty_ledger(buffer):
    running = buffer()
    running.drain()
    code, ledger = running.end()
    assert code == 0
    assert ledger["received"] == {"messages": 0, "bytes": 0}
    assert ledger["producers"] == ledger["consumers"] == ledger["problems"] == []


def test_a_late_consumer_still_hears_of_the_end(buffer, peer):
    running = buffer("--expected-producers", 1, "--expected-consumers", 2)
    assert peer("produce", running.inlet(), "rank 0", 3, 10).wait() == 0
    first = peer("consume", running.outlet(), "first")
    assert first.wait() == 0
    late = peer("consume", running.outlet(), "late")
    assert late.wait() == 0
    assert "end end_of_stream" in late.stdout
    assert running.end()[0] == 0


def test_a_consumer_that_never_comes_costs_time_but_no_message(buffer, peer):
    running = buffer(
        "--expected-producers", 1, "--expected-consumers", 2, "--drain-timeout", "300ms"
    )
    consumer = peer("consume", running.outlet(), "consumer")
    assert peer("produce", running.inlet(), "rank 0", 3, 10).wait() == 0
    assert consumer.wait() == 0
    code, ledger = running.end()
    assert (code, ledger["problems"]) == (0, [])


def test_one_consumer_may_leave_before_the_end(buffer, peer, wait_for, taken_by, expected_of):
    running = buffer("--expected-producers", 1)
    early = peer("consume", running.outlet(), "early", 0, 5)
    wait_for(lambda: "begun" in early.stdout, what="a consumer")
    producer = peer("produce", running.inlet(), "rank 0", 400, 1000)
    assert early.wait() == 0
    late = peer("consume", running.outlet(), "late")
    assert producer.wait() == late.wait() == 0
    code, ledger = running.end()
    assert code == 0, ledger["problems"]
    assert sorted(taken_by(early, late)) == expected_of(["rank 0"], 400)
    assert {c["name"]: c["acknowledged_messages"] for c in ledger["consumers"]} == {
        "early": 5,
        "late": 395,
    }


def test_the_admin_interface_tells_and_refuses(buffer):
    running = buffer("--limit", "1MiB")
    with urllib.request.urlopen(running.endpoints["admin"] + "/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "# TYPE lclstream_buffer_received_messages_total counter" in text
    assert "lclstream_buffer_limit_bytes 1048576" in text
    refused = {
        "/nothing": ({}, "GET", 404),
        "/drain": ({"Origin": "http://evil.example"}, "POST", 403),
        "/status": ({"Host": "evil.example"}, "GET", 403),
    }
    for path, (headers, method, status) in refused.items():
        request = urllib.request.Request(
            running.endpoints["admin"] + path, headers=headers, method=method
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        assert caught.value.code == status
        assert json.load(caught.value)["mend"]
    assert running.status()["state"] == "waiting"


def test_every_metric_of_the_buffer_is_served(buffer):
    from prometheus_client.parser import text_string_to_metric_families

    from lclstreamer.core.metrics import METRICS

    running = buffer()
    with urllib.request.urlopen(running.endpoints["admin"] + "/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        served = {sample.name for family in families for sample in family.samples}
    assert served == {m.name for m in METRICS if m.name.startswith("lclstream_buffer_")}


def test_status_and_drain_from_the_command_line(buffer, processes, venv_bin):
    running = buffer()
    told = processes.run([venv_bin / "nng-stream", "status", running.folder])
    assert told.stdout.startswith("waiting: received 0 messages")
    told = processes.run([venv_bin / "nng-stream", "drain", running.endpoints["admin"], "--json"])
    assert json.loads(told.stdout) == {"state": "draining"}
    assert running.end()[0] == 0
