"""When is an Airflow ready for a run? When it is seen to have done what a run will need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from airflow_provider_lclstream.arp.airflow_client import AirflowClient
from lclstreamer.core.errors import TemporaryError, UnavailableError

LISTENING_TIMEOUT_SECONDS = 60.0
SWEEP_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.2


def wait_until_consumed(bootstrap: str, group: str, topic: str, check: Callable[[], None]) -> None:
    """Wait until a consumer group has committed an offset of a topic: then it listens.

    Args:
        bootstrap: the broker.
        group: the group.
        topic: a topic to which something was published.
        check: raises when something that has to run has ended.

    Raises:
        UnavailableError: nothing was committed in time, or the broker does not answer.
    """
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    observer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 2})
    deadline = time.monotonic() + LISTENING_TIMEOUT_SECONDS
    try:
        known = observer.list_topics(topic, timeout=5).topics[topic].partitions
        partitions = [TopicPartition(topic, number) for number in known]
        while not any(part.offset > 0 for part in observer.committed(partitions, timeout=5)):
            check()
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"nobody listened to run events within {LISTENING_TIMEOUT_SECONDS:.0f} s",
                    where=bootstrap,
                    mend="look at the triggerer's log; the DAG lclstream_run_events may be broken",
                )
            time.sleep(POLL_SECONDS)
    except KafkaException as error:
        raise UnavailableError(
            f"the Kafka broker does not answer: {error}", where=bootstrap, mend="see its log"
        ) from error
    finally:
        observer.close()


async def wait_for_first_sweep(client: AirflowClient, check: Callable[[], None]) -> bool:
    """Wait until the logbook has been swept once, and say whether it was.

    The first task of an Airflow warms it up, which takes seconds: let it be the sweep. It is not
    waited for longer than `SWEEP_TIMEOUT_SECONDS`; a slow sweep harms nobody.
    """
    deadline = time.monotonic() + SWEEP_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        check()
        try:
            found = await client.get("/api/v2/dags/lclstream_run_events/dagRuns?limit=10")
        except TemporaryError:
            found = {"dag_runs": []}
        if any(run["state"] in {"success", "failed"} for run in found["dag_runs"]):
            return True
        await asyncio.sleep(POLL_SECONDS)
    return False
