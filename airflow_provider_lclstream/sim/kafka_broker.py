"""A Kafka broker without Java: the mock cluster inside librdkafka, in a process of its own.

It speaks Kafka's protocol to any client and keeps everything in memory. Consumers should set
``group.protocol=consumer``: with the classic protocol the next member of a group waits for the
last one's session to end.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from lclstreamer.core.errors import MissingDependencyError, UnavailableError
from lclstreamer.event_sources.base import StopFlag

TOPICS = ("runs", "file_catalog", "experiment_switch", "instrument_standby", "experiments")
"""The topics of the Elog that concern runs."""


class MockBroker:
    """The broker inside this process; it lives until `close`."""

    def __init__(self, topics: Sequence[str] = TOPICS, *, timeout_seconds: float = 10) -> None:
        try:
            from confluent_kafka import KafkaException, Producer
        except ImportError as error:
            raise MissingDependencyError(
                "the Python package confluent-kafka is not installed",
                mend="pip install 'airflow-provider-lclstream[kafka]'",
            ) from error
        # log_level 2: librdkafka warns on every start that a mock cluster is configured.
        self._owner = Producer({"test.mock.num.brokers": 1, "log_level": 2})
        try:
            for topic in topics:  # asking for a topic's metadata makes it
                self._owner.list_topics(topic, timeout=timeout_seconds)
            brokers = self._owner.list_topics(timeout=timeout_seconds).brokers.values()
        except KafkaException as error:
            raise UnavailableError(
                f"the embedded Kafka broker did not start: {error}",
                mend="see whether programs may listen on 127.0.0.1 here",
            ) from error
        self.address = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        """``host:port`` for clients."""

    def close(self) -> None:
        """Stop serving; everything in memory is gone."""
        self._owner.flush(1)
        del self._owner


def serve(
    address_file: Path | None = None, *, on_ready: Callable[[str], None] = lambda _address: None
) -> None:
    """Run a broker until SIGTERM or SIGINT; its address is written into a file when it is up."""
    stop = StopFlag()

    def _stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    broker = MockBroker()
    if address_file is not None:
        partial = address_file.with_suffix(".partial")
        partial.write_text(broker.address + "\n", encoding="utf-8")
        partial.replace(address_file)
    on_ready(broker.address)
    stop.wait(math.inf)
    broker.close()
