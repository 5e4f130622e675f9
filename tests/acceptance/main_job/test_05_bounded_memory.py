"""Bounded memory under a flood, and what is known when something is killed."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

PEERS = Path(__file__).with_name("bulk_peers.py")
MIB = 1 << 20


class Bench:
    """A buffer with producers and consumers, each a process."""

    def __init__(self, processes, folder, wait_for) -> None:
        self._processes = processes
        self.folder = folder / "buffer"
        self._wait_for = wait_for
        self.endpoints = {}
        self.buffer = None

    def start_buffer(self, *options):
        words = ["nng-stream", "run", "--directory", self.folder, *map(str, options)]
        self.buffer = self._processes.start(words)
        ready = self.folder / "endpoints.json"
        self._wait_for(ready.exists, what="the buffer")
        self.endpoints = json.loads(ready.read_text())

    def produce(self, rank, count, size):
        words = ["produce", self.endpoints["inlets"]["nng"], rank, count, size]
        return self._peer(*words)

    def consume(self, name, size, pause=0.0):
        return self._peer("consume", self.endpoints["outlets"]["nng"], name, size, pause)

    def _peer(self, *words):
        return self._processes.start([sys.executable, PEERS, *map(str, words)])

    def status(self):
        told = self._processes.run(["nng-stream", "status", self.folder, "--json"])
        return json.loads(told.stdout)

    def peak_resident_bytes(self):
        """The buffer's high-water mark so far, as the kernel counts it."""
        text = Path(f"/proc/{self.buffer.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        return int(found[1]) * 1024 if found else 0

    def ledger(self):
        return json.loads((self.folder / "ledger.json").read_text())


@pytest.fixture
def bench(processes, tmp_path, wait_for):
    return Bench(processes, tmp_path, wait_for)


def last_line(running):
    return json.loads(running.stdout.splitlines()[-1])


@pytest.mark.timeout(300)
def test_10000_messages_of_1_mib_in_256_mib(bench, wait_for, figure):
    count = 10_000
    bench.start_buffer("--expected-producers", 2, "--limit", "256MiB")
    producers = [bench.produce(rank, count // 2, MIB) for rank in range(2)]
    wait_for(lambda: bench.status()["memory"]["in_use_bytes"] > 240 * MIB, what="a full buffer")
    full = bench.status()["received"]["messages"]
    time.sleep(1)
    assert bench.status()["received"]["messages"] == full, "the full buffer went on receiving"
    begun = time.monotonic()
    consumers = [bench.consume(f"consumer {number}", MIB) for number in range(2)]
    peak = 0
    while bench.buffer.process.poll() is None:
        peak = max(peak, bench.peak_resident_bytes())
        time.sleep(0.05)
        assert time.monotonic() - begun < 250
    seconds = time.monotonic() - begun
    assert bench.buffer.process.returncode == 0, bench.buffer.stderr
    assert [running.wait() for running in (*producers, *consumers)] == [0] * 4
    came = Counter(tuple(mark) for consumer in consumers for mark in last_line(consumer)["came"])
    ledger = bench.ledger()
    waits = [last_line(producer)["longest_wait_seconds"] for producer in producers]
    figure("peak_resident_mib", peak / MIB)
    figure("messages_lost", count - len(came))
    figure("messages_duplicated", sum(came.values()) - len(came))
    figure("longest_wait_of_a_producer_seconds", max(waits))
    figure("back_pressure_seconds", ledger["back_pressure_seconds"])
    figure("mib_per_second", count / seconds)
    assert came == Counter((rank, number) for rank in range(2) for number in range(count // 2))
    assert peak < 400 * MIB
    assert full < 300
    assert max(waits) > 0.9
    assert ledger["back_pressure_seconds"] > 0.9
    assert ledger["peak_queued_bytes"] <= 256 * MIB
    assert ledger["state"] == "completed"
    assert ledger["acknowledged"] == {"messages": count, "bytes": count * MIB}
    assert all(len(last_line(consumer)["came"]) > 0 for consumer in consumers)


def kill(running):
    running.process.send_signal(signal.SIGKILL)
    running.wait()


def test_a_killed_consumer_costs_nothing(bench, wait_for, figure):
    count, size = 500, 100_000
    bench.start_buffer("--expected-producers", 1, "--limit", "64MiB")
    victim = bench.consume("victim", size, 0.02)
    producer = bench.produce(0, count, size)
    wait_for(lambda: victim.stdout.count("\n") > 10, what="the victim's first messages")
    other = bench.consume("other", size)
    kill(victim)
    codes = [running.wait() for running in (producer, other, bench.buffer)]
    assert codes == [0, 0, 0], bench.buffer.stderr
    ledger = bench.ledger()
    seen = {tuple(map(int, line.split())) for line in victim.stdout.splitlines()[1:]}
    came = [tuple(mark) for mark in last_line(other)["came"]]
    assert seen | set(came) == {(0, number) for number in range(count)}
    assert len(came) == len(set(came))
    facts = {consumer["name"]: consumer for consumer in ledger["consumers"]}
    assert facts["victim"]["end"] == "disconnected"
    assert facts["victim"]["returned_messages"] == ledger["redelivered"]["messages"] > 0
    assert facts["victim"]["acknowledged_messages"] + len(came) == count
    assert ledger["state"] == "completed"
    figure("killed_consumer_messages_lost", count - len(seen | set(came)))
    figure("killed_consumer_messages_redelivered", ledger["redelivered"]["messages"])


def test_a_killed_producer_is_named_and_the_other_one_arrives_whole(bench, wait_for, figure):
    count, size = 300, 100_000
    bench.start_buffer("--expected-producers", 2, "--limit", "4MiB")
    victim = bench.produce(0, 100_000, size)
    consumer = bench.consume("consumer", size, 0.002)
    other = bench.produce(1, count, size)
    wait_for(lambda: consumer.stdout.count("0 ") > 10, what="messages of the victim")
    kill(victim)
    assert other.wait() == 0
    assert bench.buffer.wait() == 74
    assert consumer.wait() == 74  # it was told that the stream is incomplete
    ledger = bench.ledger()
    came = Counter(rank for rank, _ in last_line(consumer)["came"])
    facts = {producer["name"]: producer for producer in ledger["producers"]}
    assert came == {0: facts["rank 0"]["messages"], 1: count}
    assert (facts["rank 0"]["end"], facts["rank 1"]["end"]) == ("disconnected", "end_of_stream")
    (problem,) = ledger["problems"]
    assert problem.startswith("producer rank 0: ")
    assert ledger["state"] == "incomplete"
    assert ledger["undelivered"]["messages"] == 0
    figure("killed_producer_buffer_exit_code", 74)
    figure("killed_producer_problem", problem)


CONFIGURATION = {
    "source_identifier": "synthetic",
    "skip_incomplete_events": False,
    "event_source": {"type": "InternalEventSource", "number_of_events_to_generate": 4000},
    "data_sources": {
        "image": {
            "type": "GenericRandomNumpyArray", "array_shape": "64,64", "array_dtype": "float32",
        },
    },
    "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": 4},
    "data_serializer": {"type": "HDF5BinarySerializer", "fields": {"image": "/data/image"}},
}  # fmt: skip


@pytest.mark.timeout(180)
def test_a_killed_streamer_rank_leaves_the_others_whole(
    bench, processes, tmp_path, wait_for, figure
):
    size = 3
    bench.start_buffer("--expected-producers", size, "--limit", "1MiB")
    handler = {
        "type": "BinaryDataStreamingDataHandler",
        "urls": [bench.endpoints["inlets"]["nng"]],
        "library": "nng",
        "role": "client",
        "buffer": MIB,
    }
    file = tmp_path / "lclstreamer.yaml"
    file.write_text(yaml.safe_dump({**CONFIGURATION, "data_handlers": [handler]}))
    words = ["lclstreamer", "run", "-c", file, "--report", tmp_path, "--json"]
    ranks = [
        processes.start(words, environment={"PMI_RANK": str(rank), "PMI_SIZE": str(size)})
        for rank in range(size)
    ]
    wait_for(
        lambda: bench.status()["connected"]["producers"] == size,
        what="every rank at the buffer",
        timeout_seconds=60,
    )
    kill(ranks[1])  # the buffer is full and nobody takes: no rank can have ended yet
    consumer = processes.start(
        ["lclstream", "pull", bench.endpoints["outlets"]["nng"], "-o", tmp_path / "out", "--json"]
    )
    assert [ranks[0].wait(90), ranks[2].wait(90)] == [0, 0], ranks[0].stderr
    assert bench.buffer.wait(60) == 74
    assert consumer.wait() == 74
    ledger, summary = bench.ledger(), last_line(consumer)
    assert summary["end"] == "incomplete"
    assert "rank 1" in summary["problems"][0]
    reports = {
        rank: json.loads((tmp_path / f"report.r{rank:04d}.json").read_text()) for rank in (0, 2)
    }
    assert not (tmp_path / "report.r0001.json").exists()
    facts = {int(re.search(r"rank (\d)", p["name"])[1]): p for p in ledger["producers"]}
    for rank, report in reports.items():
        assert facts[rank]["end"] == "end_of_stream"
        assert facts[rank]["messages"] == report["messages"] == report["confirmed_messages"]
        assert report["exit_code"] == 0
    assert facts[1]["end"] == "disconnected"
    assert len(ledger["problems"]) == 1
    assert "rank 1" in ledger["problems"][0]
    assert (
        summary["messages"]
        == ledger["received"]["messages"]
        == len(list((tmp_path / "out").iterdir()))
    )
    assert ledger["acknowledged"] == ledger["received"]
    figure("killed_rank_other_ranks_events", [report["events"] for report in reports.values()])
    figure("killed_rank_problem", ledger["problems"][0])
