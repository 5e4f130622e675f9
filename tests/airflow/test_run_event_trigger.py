"""Run events on a Kafka broker become DAG runs, through Airflow's real REST interface.

The broker is librdkafka's; Airflow's shared-stream manager is driven here as the triggerer does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from contextlib import suppress

import pytest
import yaml

from airflow_provider_lclstream.sim.elog import KafkaPublisher
from airflow_provider_lclstream.sim.elog_book import ElogBook, Published
from airflow_provider_lclstream.sim.kafka_broker import MockBroker

REJECTED = "rejected"
STREAMER = {
    "source_identifier": "{experiment}:{run_number}",
    "skip_incomplete_events": False,
    "event_source": {"type": "InternalEventSource", "number_of_events_to_generate": 10},
    "data_sources": {"event": {"type": "EventId"}},
    "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": 5},
    "data_serializer": {"type": "Hdf5Serializer", "fields": {"event": "/event"}},
}
RULES = {"rules": [{"name": "every run", "request": {"streamer": STREAMER}}]}
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def broker():
    running = MockBroker(["runs", REJECTED])
    yield running
    running.close()


@pytest.fixture
def publish(broker):
    return KafkaPublisher(broker.address)


@pytest.fixture
def experiment():
    """An experiment of this test alone, as the mock broker cannot forget messages."""
    return f"mfxx{next(numbers):05d}"


@pytest.fixture
def book(experiment):
    opened = ElogBook()
    opened.register_experiment(experiment, "MFX")
    return opened


@pytest.fixture
def rules_file(tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    return str(tmp_path / "rules.yaml")


@pytest.fixture
def connections(api, broker, monkeypatch):
    """The connections to Kafka (a group of this test alone) and to Airflow's REST interface."""
    group = f"group-{next(numbers)}"
    kafka = {
        "bootstrap.servers": broker.address,
        "group.id": group,
        "group.protocol": "consumer",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": "false",
    }
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA", json.dumps({"conn_type": "kafka", "extra": kafka}))
    account = {"conn_type": "http", "host": api.url, "login": "arp"}
    account["password"] = api.passwords["arp"]
    monkeypatch.setenv("AIRFLOW_CONN_LCLSTREAM_AIRFLOW_API", json.dumps(account))
    return kafka


@pytest.fixture
def host(connections, rules_file):
    """``host(until)``: run the trigger as the triggerer does until a condition is true."""
    from airflow.triggers.shared_stream import SharedStreamManager

    from airflow_provider_lclstream.triggers.run_event import RunEventTrigger

    def run(until, timeout_seconds=40):
        trigger = RunEventTrigger(
            topics=["runs"], kafka_config_id="kafka", poll_timeout=0.1, dlq_topic=REJECTED,
            rules_file=rules_file,
        )  # fmt: skip
        events = []

        async def drive(manager, key):
            stream = manager.subscribe(trigger_id=1, trigger=trigger, key=key)
            async for event in trigger.filter_shared_stream(stream):
                events.append(event.payload)
                seq = manager.bind_pending_event(trigger_id=1, key=key)
                asyncio.get_running_loop().call_later(0.05, manager.confirm_persisted, [seq])

        async def main():
            manager, key = SharedStreamManager(), trigger.shared_stream_key()
            driving = asyncio.create_task(drive(manager, key))
            try:
                async with asyncio.timeout(timeout_seconds):
                    while not await asyncio.to_thread(until):
                        if driving.done():
                            driving.result()
                        await asyncio.sleep(0.1)
            finally:
                driving.cancel()
                with suppress(asyncio.CancelledError):
                    await driving
                await manager.stop_all()

        asyncio.run(main())
        return events

    return run


@pytest.fixture
def started(airflow_db):
    """The DAG runs of an experiment, by run number."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    def find(experiment):
        with create_session() as session:
            runs = session.query(DagRun).filter_by(dag_id="lclstream_transfer").all()
            found = [run for run in runs if run.conf.get("experiment") == experiment]
            return sorted((run.conf["run_number"], run.run_id) for run in found)

    return find


def lag(kafka, topic="runs"):
    """How many messages of a topic a group has not committed."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(kafka)
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        committed = consumer.committed([TopicPartition(topic, p) for p in partitions], timeout=10)
        return sum(
            consumer.get_watermark_offsets(place, timeout=10)[1] - max(0, place.offset)
            for place in committed
        )
    finally:
        consumer.close()


def messages(kafka, topic):
    """Everything on a topic, read by a group of nobody."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({**kafka, "group.id": "reader"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        found = []
        while (message := consumer.poll(1.0)) is not None:
            found.append(message.value())
        return found
    finally:
        consumer.close()


def test_each_run_start_gives_one_dag_run_and_is_committed_after(
    host, book, experiment, publish, connections, started
):
    for _ in range(10):
        _, published = book.start_run(experiment)
        publish(published)
    host(lambda: len(started(experiment)) >= 10 and lag(connections) == 0)
    runs = started(experiment)
    assert [number for number, _ in runs] == list(range(1, 11))
    assert all(run_id.startswith(f"lclstream__{experiment}__r00") for _, run_id in runs)


def test_messages_that_come_again_start_nothing_twice(
    host, book, experiment, publish, connections, started, monkeypatch
):
    _, published = book.start_run(experiment)
    publish(published * 3)
    host(lambda: lag(connections) == 0 and started(experiment))
    first = started(experiment)
    # Another group reads everything again, as after a restart before the first commit.
    again = {**connections, "group.id": f"again-{experiment}"}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA", json.dumps({"conn_type": "kafka", "extra": again}))
    host(lambda: lag(again) == 0)
    assert started(experiment) == first
    assert len(first) == 1


def test_an_ended_run_fires_and_a_started_one_does_not(
    host, book, experiment, publish, connections
):
    run, published = book.start_run(experiment)
    _, ended = book.end_run(experiment)
    publish([*published, *ended])
    events = host(lambda: lag(connections) == 0)
    assert [event for event in events if event["experiment"] == experiment] == [
        {"experiment": experiment, "run_number": 1, "run_oid": run["_id"]}
    ]


def test_a_message_that_can_never_be_used_is_kept_elsewhere(
    host, book, experiment, publish, connections, started
):
    poison = {"experiment_name": experiment, "value": "no document"}
    _, published = book.start_run(experiment)
    publish([Published("runs", poison), *published])
    host(lambda: lag(connections) == 0 and started(experiment))
    rejected = [json.loads(message) for message in messages(connections, REJECTED)]
    assert poison in rejected
    assert len(started(experiment)) == 1


def test_while_airflow_does_not_answer_nothing_is_committed(
    host, book, experiment, publish, connections, started, monkeypatch, free_port
):
    from airflow_provider_lclstream.arp import dispatcher
    from airflow_provider_lclstream.triggers import run_event
    from lclstreamer.core.errors import TemporaryError

    account = json.loads(os.environ["AIRFLOW_CONN_LCLSTREAM_AIRFLOW_API"])
    _, published = book.start_run(experiment)
    publish(published)
    monkeypatch.setattr(run_event, "PAUSE_SECONDS", 0.1)
    defaults = dispatcher.RunEventDispatcher.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "attempts", 2)
    monkeypatch.setenv(
        "AIRFLOW_CONN_LCLSTREAM_AIRFLOW_API",
        json.dumps({**account, "host": f"http://127.0.0.1:{free_port()}"}),
    )
    before = lag(connections)
    with pytest.raises(TemporaryError, match="after 2 attempts"):
        host(lambda: False)
    assert lag(connections) == before > 0
    monkeypatch.setenv("AIRFLOW_CONN_LCLSTREAM_AIRFLOW_API", json.dumps(account))
    host(lambda: lag(connections) == 0 and started(experiment))
    assert len(started(experiment)) == 1


def test_its_arguments_hold_no_secret_and_survive_the_database(api, rules_file):
    from airflow._shared.module_loading import import_string

    from airflow_provider_lclstream.triggers.run_event import RunEventTrigger

    trigger = RunEventTrigger(topics=["b", "a"], rules_file=rules_file)
    path, kwargs = trigger.serialize()
    assert import_string(path)(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)
    assert api.passwords["arp"] not in json.dumps(kwargs)
    assert kwargs["topics"] == ["a", "b"], "one order, so that equal triggers are stored once"


def test_without_its_connection_it_says_which(connections, rules_file, monkeypatch):
    from airflow_provider_lclstream.triggers import run_event
    from lclstreamer.core.errors import ConfigurationError

    monkeypatch.setattr(run_event, "PAUSE_SECONDS", 0)
    trigger = run_event.RunEventTrigger(
        topics=["runs"], rules_file=rules_file, airflow_conn_id="absent"
    )

    async def run():
        async for _ in trigger.filter_shared_stream(iter(())):
            pass

    with pytest.raises(ConfigurationError, match="no Airflow connection 'absent'"):
        asyncio.run(run())
