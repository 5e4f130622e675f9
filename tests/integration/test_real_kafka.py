"""The real Apache Kafka that other tests may lean on: it takes and gives a message."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def test_a_message_goes_through_a_real_broker(kafka_broker):
    from confluent_kafka import Consumer, Producer

    producer = Producer({"bootstrap.servers": kafka_broker})
    producer.produce("runs.test", b"run 1 started")
    assert producer.flush(20) == 0
    group = {"group.id": "test", "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": kafka_broker, **group})
    try:
        consumer.subscribe(["runs.test"])
        message = consumer.poll(30)
        assert message is not None
        assert message.value() == b"run 1 started"
    finally:
        consumer.close()
