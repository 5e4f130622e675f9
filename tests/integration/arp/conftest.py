"""A broker and an Elog in processes of their own, an Airflow that speaks HTTP, rules on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_rest import AirflowRest

RULES = """\
version: 1
rules:
  - name: mfx
    request:
      streamer:
        source_identifier: none
        skip_incomplete_events: true
        event_source: {type: InternalEventSource, number_of_events_to_generate: 5}
        data_sources: {x: {type: IntValue, value: 1}}
        processing_pipeline: {type: BatchProcessingPipeline, batch_size: 5}
        data_serializer: {type: Hdf5Serializer, fields: {x: /x}}
"""
EXPERIMENT = "mfxx00126"


@pytest.fixture
def airflow() -> Iterator[AirflowRest]:
    with AirflowRest() as airflow:
        yield airflow


@pytest.fixture
def broker(processes, tmp_path, wait_for) -> str:
    """The address of a Kafka broker."""
    address = tmp_path / "kafka-address"
    processes.start(["lclstream", "sim", "kafka", "--address-file", address])
    wait_for(address.exists, what="the broker's address")
    return address.read_text().strip()


@pytest.fixture
def elog(processes, broker, wait_for) -> str:
    """The base URL of an Elog that publishes to the broker."""
    running = processes.start(["lclstream", "sim", "elog", "--bootstrap", broker])
    wait_for(lambda: "Elog at" in running.stderr, what="the Elog")
    return running.stderr.split("Elog at", 1)[1].split()[0]


@pytest.fixture
def rules(tmp_path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def credentials(tmp_path, airflow) -> Path:
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"username": "arp", "password": airflow.password}))
    path.chmod(0o600)
    return path


@pytest.fixture
def serve(processes, broker, airflow, rules, credentials, tmp_path):
    """Start `lclstream arp serve` on the broker, from the oldest message on."""

    def start(*options):
        return processes.start(
            ["lclstream", "arp", "serve", "--rules", rules, "--airflow", airflow.url,
             "--credentials", credentials, "--bootstrap", broker, "--from-beginning",
             "--kafka-option", "group.protocol=consumer",
             "--dead-letters", tmp_path / "dead-letters.jsonl", *options]
        )  # fmt: skip

    return start
