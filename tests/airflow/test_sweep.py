"""The sweep: what the Elog knows and Kafka lost becomes a transfer; with the minimal Elog."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import pytest
import yaml

from airflow_provider_lclstream.sim.elog import ElogServer
from airflow_provider_lclstream.sim.elog_book import ElogBook

EXPERIMENT = "mfxsweep1"
STREAMER = {
    "source_identifier": "{experiment}:{run_number}",
    "skip_incomplete_events": False,
    "event_source": {"type": "InternalEventSource", "number_of_events_to_generate": 10},
    "data_sources": {"event": {"type": "EventId"}},
    "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": 5},
    "data_serializer": {"type": "Hdf5Serializer", "fields": {"event": "/event"}},
}


@pytest.fixture
def elog():
    """An Elog with an active experiment of three runs, whose messages nobody heard."""
    book = ElogBook()
    book.register_experiment(EXPERIMENT, "MFX")
    book.switch_experiment("MFX", EXPERIMENT)
    for _ in range(3):
        book.start_run(EXPERIMENT)
    server = ElogServer(book, lambda _messages: None)
    server.start()
    yield server
    server.close()


@pytest.fixture
def rules_file(tmp_path):
    rules = {"rules": [{"name": "every run", "request": {"streamer": STREAMER}}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    return str(tmp_path / "rules.yaml")


@pytest.fixture
def sweep(api, rules_file, monkeypatch):
    """``sweep(elog_url, **extra)``: run the task once; gives what it returns."""
    from airflow.sdk import DAG

    from airflow_provider_lclstream.operators.run_events import SweepRunsOperator

    account = {"conn_type": "http", "host": api.url, "login": "arp"}
    account["password"] = api.passwords["arp"]
    monkeypatch.setenv("AIRFLOW_CONN_LCLSTREAM_AIRFLOW_API", json.dumps(account))

    def run(url, **extra):
        if url:
            connection = {"conn_type": "http", "host": url, "extra": extra}
            monkeypatch.setenv("AIRFLOW_CONN_LCLSTREAM_ELOG", json.dumps(connection))
        with DAG("d", schedule=None):
            operator = SweepRunsOperator(
                task_id="sweep",
                elog_conn_id="lclstream_elog",
                airflow_conn_id="lclstream_airflow_api",
                rules_file=rules_file,
            )
        return operator.execute({})

    return run


def test_lost_runs_are_started_once(sweep, elog):
    assert sweep(elog.url, instruments=["MFX"]) == {"started": 3}
    assert sweep(elog.url, experiments=[EXPERIMENT]) == {"exists": 3}
    elog.book.start_run(EXPERIMENT)
    assert sweep(elog.url, instruments=["MFX"], experiments=[EXPERIMENT]) == {
        "exists": 3, "started": 1
    }  # fmt: skip


def test_in_standby_there_is_nothing_to_do(sweep, elog):
    assert sweep(elog.url, instruments=["CXI"]) == {}


def test_without_an_elog_the_task_is_skipped(sweep):
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException, match="no Elog to ask"):
        sweep(None)


def test_an_elog_that_does_not_answer_is_asked_again_later(sweep, free_port):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    with pytest.raises(AirflowException, match="does not answer") as failed:
        sweep(f"http://127.0.0.1:{free_port()}", instruments=["MFX"])
    assert not isinstance(failed.value, AirflowFailException)


@pytest.mark.parametrize(
    ("login", "extra", "header"),
    [
        (None, {}, None),
        (None, {"token": "t"}, "Bearer t"),
        ("me", {}, "Basic " + base64.b64encode(b"me:pw").decode()),
    ],
)
def test_how_it_presents_itself(login, extra, header):
    from airflow_provider_lclstream.operators.run_events import _headers

    connection = SimpleNamespace(login=login, password="pw", extra_dejson=extra)
    assert _headers(connection).get("Authorization") == header


def test_without_rules_the_dag_waits_for_them_and_is_skipped(run_dag):
    end = run_dag("lclstream_run_events")
    assert end.states == {"sweep": "skipped"}
    assert end.state == "success"
    assert "set the option [lclstream] run_event_rules_file" in end.log


def test_with_rules_the_dag_watches_and_has_a_clock(rules_file, monkeypatch, repository):
    import importlib.util

    monkeypatch.setenv("AIRFLOW__LCLSTREAM__RUN_EVENT_RULES_FILE", rules_file)
    path = repository / "dags" / "lclstream_run_events.py"
    spec = importlib.util.spec_from_file_location("lclstream_run_events_with_rules", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (asset,) = module.dag.timetable.asset_condition.objects
    (watcher,) = asset.watchers
    path, kwargs = watcher.trigger.serialize()
    assert path.endswith("RunEventTrigger")
    assert kwargs["rules_file"] == rules_file
    assert "runs" in kwargs["topics"]
    from airflow.serialization.serialized_objects import DagSerialization

    stored = json.dumps(DagSerialization.serialize_dag(module.dag))
    assert "RunEventTrigger" in stored
