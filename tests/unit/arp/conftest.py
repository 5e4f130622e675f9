"""Rules, messages, and an Airflow that speaks real HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow_rest import AirflowRest

from airflow_provider_lclstream.arp.airflow_client import AirflowClient, Credentials

NOW = datetime(2026, 11, 20, 20, 40, tzinfo=UTC)
STREAMER = """
      streamer:
        source_identifier: exp={experiment},run={run_number},dir=/d/{experiment}/r{run_number:04d}
        skip_incomplete_events: true
        event_source: {type: Psana2EventSource}
        data_sources:
          image: {type: Psana2DetectorInterface, psana_name: jungfrau, psana_fields: raw.raw}
        processing_pipeline: {type: BatchProcessingPipeline, batch_size: 5}
        data_serializer: {type: Hdf5Serializer, fields: {image: /data/image}}
"""


@pytest.fixture
def rules_text() -> str:
    return f"version: 1\nmax_age: 1h\nrules:\n  - name: mfx\n    request:\n      ranks: 2{STREAMER}"


@pytest.fixture
def streamer_text() -> str:
    return STREAMER


@pytest.fixture
def airflow() -> Iterator[AirflowRest]:
    with AirflowRest() as airflow:
        yield airflow


@pytest.fixture
def client(airflow) -> AirflowClient:
    return AirflowClient(airflow.url, Credentials("arp", airflow.password), timeout_seconds=5)


@pytest.fixture
def message() -> Any:
    """``message(num=17, …)``: the envelope of a run, as bytes."""

    def make(crud: str = "Create", *, experiment: str = "mfxx00126", **facts: Any) -> bytes:
        value = {
            "_id": "6b00afd2050858c8cd1fedca",
            "num": 17,
            "type": "DATA",
            "begin_time": "2026-11-20T20:38:42.514000+00:00",
            "end_time": None,
            "params": {},
            **facts,
        }
        return json.dumps({"experiment_name": experiment, "CRUD": crud, "value": value}).encode()

    return make
