"""`lclstream arp serve`: run events from Kafka to Airflow, in a process of its own.

A message's offset is committed only after its outcome: the transfer's DAG run exists, or nothing
was to be done, or the message can never be used and stands in the dead-letter file. When Airflow
does not answer for longer than the dispatcher's retries last, the process ends with exit code 75;
whoever started it starts it again, and the message comes again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_lclstream.arp.dispatcher import RunEventDispatcher
from lclstreamer.core.errors import (
    BadInputError,
    MissingDependencyError,
    OutputError,
    UnavailableError,
)

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
BROKER_TIMEOUT_SECONDS = 5.0
COMPLAINT_SECONDS = 60.0
MAXIMUM_DEAD_LETTERS_BYTES = 256 * 2**20


@dataclass(frozen=True)
class KafkaSettings:
    """Where run events come from.

    Attributes:
        bootstrap: ``host:port`` of one or more brokers, with commas.
        topics: the Elog's topics.
        group: the consumer group whose offsets are committed.
        from_beginning: where a group without offsets starts; else at the latest message.
        options: more of librdkafka's settings, e.g. for TLS.
    """

    bootstrap: str
    topics: tuple[str, ...]
    group: str = "lclstream-arp"
    from_beginning: bool = False
    options: tuple[tuple[str, str], ...] = ()

    def to_librdkafka(self) -> dict[str, Any]:
        """The consumer's configuration. Commits are always ours: no option can change that."""
        return {
            "bootstrap.servers": self.bootstrap,
            "group.id": self.group,
            "auto.offset.reset": "earliest" if self.from_beginning else "latest",
            # A topic that is made after we subscribed is found within this time.
            "topic.metadata.refresh.interval.ms": 10_000,
            "log_level": 2,
            **dict(self.options),
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        }


class DeadLetters:
    """Messages that can never be used: one JSON object per line, flushed before the commit."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def keep(self, message: Message, reason: str) -> None:
        """Write a message and why it was refused.

        Raises:
            OutputError: the file cannot be written or is full: the message must not be committed.
        """
        raw = message.value() or b""
        record = {
            "time": datetime.now(UTC).isoformat(),
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "reason": reason,
            "value": bytes(raw).decode("utf-8", "backslashreplace"),
        }
        logger.warning("a message was refused", extra={key: record[key] for key in _LOGGED})
        if self._path is None:
            return
        try:
            if self._path.exists() and self._path.stat().st_size > MAXIMUM_DEAD_LETTERS_BYTES:
                raise OutputError(
                    "the dead-letter file is full",
                    where=str(self._path),
                    mend="look at what is in it, then move it away",
                )
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise OutputError(
                f"the dead-letter file cannot be written: {error.strerror}",
                where=str(self._path),
                mend="give a path that this user may write to",
            ) from error


_LOGGED = ("topic", "partition", "offset", "reason")


class RunEventService:
    """Reads, dispatches, commits; one message after the other, in the order of its partition."""

    def __init__(
        self,
        kafka: KafkaSettings,
        dispatcher: RunEventDispatcher,
        dead_letters: DeadLetters,
    ) -> None:
        self._kafka, self._dispatcher, self._dead_letters = kafka, dispatcher, dead_letters
        self._stop = threading.Event()
        self.rejected = 0
        """Messages that went to the dead letters."""

    @property
    def counts(self) -> Counter[str]:
        """Outcomes so far, by kind, the rejected ones among them."""
        # Copied in one piece: whoever asks for metrics does so in a thread of its own.
        return +Counter({**self._dispatcher.counts, "rejected": self.rejected})

    def stop(self) -> None:
        """End after the message that is being worked on; may be called from anywhere."""
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`.

        Raises:
            UnavailableError: no broker answers at the start.
            LCLStreamError: a message could not be dispatched; it was not committed.
        """
        # librdkafka blocks, so it has a thread of its own.
        with ThreadPoolExecutor(1, thread_name_prefix="kafka") as pool:
            loop = asyncio.get_running_loop()
            consumer = await loop.run_in_executor(pool, open_consumer, self._kafka)
            try:
                while not self._stop.is_set():
                    message = await loop.run_in_executor(pool, consumer.poll, POLL_SECONDS)
                    if message is not None and await self._work_on(message):
                        await loop.run_in_executor(pool, _commit, consumer, message)
            finally:
                await loop.run_in_executor(pool, consumer.close)

    async def _work_on(self, message: Message) -> bool:
        """Whether the message is done with and may be committed."""
        error = message.error()
        if error is not None:
            if error.fatal():
                raise UnavailableError(
                    f"Kafka: {error.str()}",
                    where=self._kafka.bootstrap,
                    mend="see whether the broker knows the topics and lets this group in",
                )
            logger.warning("Kafka: %s", error.str())  # librdkafka goes on by itself
            return False
        try:
            outcome = await self._dispatcher.handle(message.value() or b"")
        except BadInputError as refusal:
            self.rejected += 1
            self._dead_letters.keep(message, refusal.problem)
            return True
        if outcome.is_transfer:
            logger.info(
                "transfer %s", outcome.kind, extra={"dag_run_id": outcome.dag_run_id,
                                                    "reason": outcome.reason}
            )  # fmt: skip
        return True


def open_consumer(settings: KafkaSettings) -> Consumer:
    """A subscribed consumer, after a broker has answered.

    Raises:
        MissingDependencyError: confluent-kafka is not installed.
        UnavailableError: no broker answers.
    """
    try:
        from confluent_kafka import Consumer, KafkaException
    except ImportError as error:
        raise MissingDependencyError(
            "the Python package confluent-kafka is not installed",
            mend="pip install 'airflow-provider-lclstream[kafka]'",
        ) from error
    try:
        complaints = _Complaints()
        consumer = Consumer({**settings.to_librdkafka(), "error_cb": complaints})
    except KafkaException as error:
        raise BadInputError(
            f"the Kafka settings are refused: {error.args[0].str()}",
            mend="see librdkafka's list of configuration properties",
        ) from error
    try:
        known = consumer.list_topics(timeout=BROKER_TIMEOUT_SECONDS).topics
    except KafkaException as error:
        consumer.close()
        raise UnavailableError(
            f"no Kafka broker answers: {error.args[0].str()}",
            where=settings.bootstrap,
            mend="start the broker or mend the address; `lclstream sim kafka` starts one for tests",
        ) from error
    absent = sorted(set(settings.topics) - set(known))
    if absent:
        logger.warning("the broker does not know the topics %s yet", ", ".join(absent))
    consumer.subscribe(list(settings.topics))
    complaints.next_monotonic = 0.0
    return consumer


class _Complaints:
    """librdkafka complains of every attempt to connect: one line a minute is enough."""

    def __init__(self) -> None:
        self.next_monotonic = float("inf")

    def __call__(self, error: KafkaError) -> None:
        if time.monotonic() >= self.next_monotonic:
            self.next_monotonic = time.monotonic() + COMPLAINT_SECONDS
            logger.warning("Kafka: %s", error.str())


def _commit(consumer: Consumer, message: Message) -> None:
    from confluent_kafka import KafkaException

    try:
        consumer.commit(message=message, asynchronous=False)
    except KafkaException as error:
        # The message is done with; it may come again after a restart, which does no harm.
        logger.warning("an offset was not committed: %s", error.args[0].str())


def serve(service: RunEventService) -> None:
    """Run a service until SIGTERM or SIGINT."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stop)
        await service.run()

    asyncio.run(main())
