"""A whole transfer whose data ports are mutual TLS, for one consumer by name."""

from __future__ import annotations

import json
import threading

import pytest
import yaml
from identities import introduce, person, service

from airflow_provider_lclstream.certified.trust import trust_authority
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.transfer.launch_plan import ENDPOINTS_FILE
from lclstreamer.core.errors import UnavailableError

NAMES = ("streamer", "consumer", "stranger")


@pytest.fixture
def identities(tmp_path):
    """The buffer's identity, and three that it knows; folders by name."""
    buffer = service(tmp_path / "buffer", "buffer")
    folders = {"buffer": buffer.path}
    for name in NAMES:
        known = person(tmp_path / name, name)
        introduce(buffer, known, name)
        trust_authority(known.known_servers, "buffer", buffer.read_authority())
        folders[name] = known.path
    return folders


@pytest.fixture
def tls_jobs(site, identities, tmp_path, monkeypatch):
    """A site under TLS; gives the folder of its jobs, which all have ended after."""
    document = {
        "psik": {"prefix": str(tmp_path / "jobs"), "backends": {"local": {"type": "local"}}},
        "data_ports": "tls",
        "buffer_environment": {"LCLSTREAM_IDENTITY": str(identities["buffer"])},
        "streamer_environment": {"LCLSTREAM_IDENTITY": str(identities["streamer"])},
    }
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("AIRFLOW__LCLSTREAM__SITE_FILE", str(path))
    store = JobStore(tmp_path / "jobs")
    yield store
    for job in store.jobs():
        job.cancel()


def test_one_consumer_gets_everything_and_others_nothing(
    run_dag, tls_jobs, identities, processes, wait_for, tmp_path
):
    pulls = {}

    def outlet():
        found = [job.work / ENDPOINTS_FILE for job in tls_jobs.jobs()]
        return [path for path in found if path.is_file()]

    def consume():
        path = wait_for(outlet, timeout_seconds=60, what="the buffer listens")[0]
        url = json.loads(path.read_text())["outlets"]["nng"]
        for name in ("stranger", "consumer"):
            environment = {"LCLSTREAM_IDENTITY": str(identities[name])}
            words = ["lclstream", "pull", url, "--discard", "--timeout", "5", "--json"]
            pulls[name] = processes.start(words, environment=environment)

    thread = threading.Thread(target=consume)
    thread.start()
    streamer = {
        "source_identifier": "made up",
        "skip_incomplete_events": False,
        "event_source": {"type": "InternalEventSource", "number_of_events_to_generate": 20},
        "data_sources": {"event": {"type": "EventId"}},
        "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": 4},
        "data_serializer": {"type": "Hdf5Serializer", "fields": {"event": "/event"}},
    }
    end = run_dag(
        "lclstream_transfer",
        {
            "experiment": "mfxx00126",
            "run_number": 18,
            "streamer": streamer,
            "ranks": 2,
            "buffer_backend": "local",
            "streamer_backend": "local",
            "start_timeout_seconds": 60,
            "drain_timeout_seconds": 30,
            "allowed_consumers": ["uid:consumer"],
        },
    )
    thread.join()
    assert end.state == "success", end.states
    settlement = end.xcoms["settle", "return_value"]
    assert (settlement["state"], settlement["events_produced"]) == ("completed", 20)
    assert end.xcoms["buffer_up", "return_value"]["outlets"]["nng"].startswith("tls+tcp://")
    assert pulls["consumer"].wait(20) == 0, pulls["consumer"].stderr
    told = json.loads(pulls["consumer"].stdout.splitlines()[-1])
    assert told["messages"] == settlement["messages_delivered"] > 0
    assert pulls["stranger"].wait(20) == UnavailableError.exit_code
