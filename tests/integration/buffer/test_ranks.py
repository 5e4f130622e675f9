"""Ranks of a real lclstreamer that fail, stop or die; a bare ``lclstream pull`` hears of it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

CONFIGURATION = """
source_identifier: "{identifier}"
skip_incomplete_events: true
event_source: {{type: {source}}}
data_sources: {{id: {{type: EventId}}{more}}}
processing_pipeline: {{type: BatchProcessingPipeline, batch_size: 5}}
data_serializer: {{type: NumpyBinarySerializer, use_compression: false}}
data_handlers: [{{type: BinaryDataStreamingDataHandler, urls: ["nng+{url}"]}}]
"""
ENDLESS = "InternalEventSource, number_of_events_to_generate: 1000000, events_per_second: 100"


def damaged_file(folder: Path) -> Path:
    """Ten events, of which the second five cannot be read any more."""
    path = folder / "run.h5"
    with h5py.File(path, "w") as file:
        ids = file.create_dataset("ids", data=np.arange(10), chunks=(5,), compression="gzip")
        file["value"] = np.arange(10.0)
        place = ids.id.get_chunk_info(1)
    with path.open("r+b") as file:
        file.seek(place.byte_offset)
        file.write(b"\xff" * place.size)
    return path


@pytest.fixture
def streamer(processes, venv_bin, tmp_path):
    """``streamer(url, source, rank=0, size=1)`` starts one rank."""

    def start(url, source, identifier="", more="", rank=0, size=1):
        path = tmp_path / f"rank{rank}.yaml"
        path.write_text(
            CONFIGURATION.format(url=url, source=source, identifier=identifier, more=more)
        )
        words = [venv_bin / "lclstreamer", "run", "-c", path, "--json"]
        return processes.start(words, environment={"PMI_RANK": str(rank), "PMI_SIZE": str(size)})

    return start


@pytest.fixture
def pull(processes, venv_bin):
    """``pull(buffer)`` starts ``lclstream pull`` that only counts."""

    def start(running):
        words = [venv_bin / "lclstream", "pull", running.outlet(), "--discard", "--json"]
        return processes.start(words)

    return start


def ending(running, pulled):
    """The buffer's ledger and the puller's summary, after both have said: incomplete."""
    code, ledger = running.end(60)
    assert (code, ledger["state"]) == (74, "incomplete")
    assert pulled.wait() == 74
    summary = json.loads(pulled.stdout.splitlines()[-1])
    assert summary["end"] == "incomplete"
    assert summary["ledger"]["state"] == "incomplete"
    assert summary["problems"] == [f"nng-stream: {problem}" for problem in ledger["problems"]]
    for problem in ledger["problems"]:
        assert problem in pulled.stderr
    return ledger, summary


def test_a_source_that_fails_makes_the_stream_incomplete(buffer, streamer, pull, tmp_path):
    running = buffer("--expected-producers", 2)
    pulled = pull(running)
    path = damaged_file(tmp_path)
    source = "Hdf5EventSource, event_id_dataset: ids"
    more = ", value: {type: Hdf5Dataset, path: value}"
    ranks = [streamer(running.inlet(), source, path, more, rank, 2) for rank in range(2)]
    assert ranks[0].wait() == 0
    assert ranks[1].wait() != 0
    ledger, summary = ending(running, pulled)
    (problem,) = ledger["problems"]
    assert problem.startswith("producer lclstreamer rank 1 of 2: ended, but not all could be sent")
    assert "OSError" in problem
    assert summary["messages"] == ledger["acknowledged"]["messages"] == 1
    assert {producer["end"] for producer in ledger["producers"]} == {"end_of_stream"}


def test_a_source_that_is_not_there_makes_the_stream_incomplete(buffer, streamer, pull):
    running = buffer("--expected-producers", 1)
    pulled = pull(running)
    rank = streamer(running.inlet(), "Hdf5EventSource", "/none.h5")
    assert rank.wait() == 65
    ledger, _ = ending(running, pulled)
    assert "no file is called /none.h5" in ledger["problems"][0]


def test_a_rank_that_is_stopped_makes_the_stream_incomplete(buffer, streamer, pull, wait_for):
    running = buffer("--expected-producers", 1)
    pulled = pull(running)
    rank = streamer(running.inlet(), ENDLESS)
    wait_for(lambda: running.status()["received"]["messages"] > 2, what="the first messages")
    rank.process.send_signal(signal.SIGTERM)
    assert rank.wait() == 143
    ledger, summary = ending(running, pulled)
    assert "it was stopped before the end of the run" in ledger["problems"][0]
    assert summary["messages"] == ledger["received"]["messages"]


def test_a_rank_that_is_killed_and_started_again_makes_the_stream_incomplete(
    buffer, streamer, pull, wait_for
):
    running = buffer("--expected-producers", 2)
    pulled = pull(running)
    victim = streamer(running.inlet(), ENDLESS, rank=0, size=2)
    other = streamer(running.inlet(), ENDLESS, rank=1, size=2)
    wait_for(lambda: len(running.status()["producers"]) == 2, what="both ranks")
    wait_for(lambda: running.status()["received"]["messages"] > 4, what="the first messages")
    victim.process.send_signal(signal.SIGKILL)
    victim.wait()
    wait_for(lambda: running.status()["problems"], what="the buffer's word for it")
    more = "InternalEventSource, number_of_events_to_generate: 20"
    assert streamer(running.inlet(), more, rank=0, size=2).wait() == 0
    assert running.status()["state"] == "flowing"
    other.process.send_signal(signal.SIGTERM)
    assert other.wait() == 143
    ledger, _ = ending(running, pulled)
    *others, twice = ledger["problems"]
    died, stopped = sorted(others)
    assert died.startswith("producer lclstreamer rank 0 of 2: disconnected without ending")
    assert stopped.startswith("producer lclstreamer rank 1 of 2: ended, but not all")
    assert "rank 0 of 2: came again after it had died" in twice


def test_a_buffer_that_is_started_again_is_no_continuation(
    buffer, streamer, pull, wait_for, free_port
):
    """It does not know what the former one had taken: the rank says so instead of going on."""
    place = ("--inlet", f"tcp://127.0.0.1:{free_port()}")
    former = buffer("--expected-producers", 1, *place)
    pulled = pull(former)
    rank = streamer(former.inlet(), ENDLESS)
    wait_for(lambda: former.status()["received"]["messages"] > 2, what="the first messages")
    former.running.process.send_signal(signal.SIGKILL)
    former.running.wait()
    later = buffer("--start-timeout", "500ms", *place)
    assert rank.wait() == 74
    error = json.loads(rank.stdout.splitlines()[-1])
    (delivery,) = error["handlers"]
    taken, made = delivery["confirmed_messages"], delivery["messages"]
    assert 2 < taken <= made
    told = f"left after it had taken {taken} of {made} messages; the other {made - taken} are not"
    assert any(told in problem for problem in error["problems"]), error["problems"]
    assert pulled.wait() == 74
    assert json.loads(pulled.stdout.splitlines()[-1])["end"] == "disconnected"
    _, ledger = later.end()
    assert ledger["producers"] == []
