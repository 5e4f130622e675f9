"""Run events become transfers inside Airflow's triggerer.

The trigger listens on a shared Kafka stream with acknowledgements. Each message goes through the
dispatcher (`airflow_provider_lclstream.arp`), which creates the DAG run over REST under an id that
only this run can have. The stream moves on, and the offset is committed, only after that.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.kafka.triggers.shared_stream import KafkaSharedStreamTrigger
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.triggers.base import TriggerEvent
from airflow.triggers.shared_stream import reject_shared_stream_event

from airflow_provider_lclstream.hooks.airflow_api import airflow_client
from lclstreamer.core.errors import BadInputError, ConfigurationError, LCLStreamError

if TYPE_CHECKING:
    from airflow_provider_lclstream.arp.airflow_client import AirflowClient
    from airflow_provider_lclstream.arp.dispatcher import RunEventDispatcher

PAUSE_SECONDS = 5.0


class RunEventTrigger(KafkaSharedStreamTrigger):
    """Starts a transfer for each run event that a rule fits.

    Every ended run makes the trigger fire, so that an asset can start the sweep for lost messages.
    A started run does not: at that moment every second belongs to the transfer.

    Args:
        topics: Kafka topics with the logbook's messages.
        kafka_config_id: the Airflow connection to Kafka, with ``enable.auto.commit=false``.
        poll_timeout: seconds the consumer waits for a message.
        dlq_topic: where messages go that can never be used.
        airflow_conn_id: the Airflow connection to Airflow's REST interface; it holds the password,
            the arguments of a trigger do not.
        rules_file: the YAML file of `RuleBook`.
        dag_id: the DAG of transfers.
    """

    def __init__(
        self,
        *,
        topics: list[str],
        rules_file: str,
        kafka_config_id: str = "kafka_default",
        poll_timeout: float = 1.0,
        dlq_topic: str | None = None,
        airflow_conn_id: str = "lclstream_airflow_api",
        dag_id: str = "lclstream_transfer",
    ) -> None:
        super().__init__(
            topics=topics,
            kafka_config_id=kafka_config_id,
            poll_timeout=poll_timeout,
            dlq_topic=dlq_topic,
        )
        self.airflow_conn_id = airflow_conn_id
        self.rules_file = rules_file
        self.dag_id = dag_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments: plain JSON, no secrets."""
        _, kwargs = super().serialize()
        kwargs |= {
            "airflow_conn_id": self.airflow_conn_id,
            "rules_file": self.rules_file,
            "dag_id": self.dag_id,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", kwargs

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Any]
    ) -> AsyncIterator[TriggerEvent]:
        """Dispatch each message; give an event for every run that has ended."""
        try:
            dispatcher, airflow = await self._dispatcher()
        except Exception as error:
            await self._pause("run events cannot be dispatched", error)
            raise
        async with aclosing(airflow):
            async for raw in shared_stream:
                try:
                    outcome = await dispatcher.handle(raw)
                except BadInputError as error:
                    self.log.warning("a message goes to %s: %s", self.dlq_topic or "nowhere", error)
                    reject_shared_stream_event()
                    continue
                except Exception as error:
                    await self._pause("a message was not dispatched and comes again", error)
                    raise
                if outcome.is_transfer:
                    self.log.info("%s %s: %s", outcome.dag_run_id, outcome.kind, outcome.reason)
                if outcome.event is not None and outcome.event.kind == "run_end":
                    yield TriggerEvent(
                        {
                            "experiment": outcome.event.experiment,
                            "run_number": outcome.event.run_number,
                            "run_oid": outcome.event.run_oid,
                        }
                    )

    async def _dispatcher(self) -> tuple[RunEventDispatcher, AirflowClient]:
        try:
            connection = await BaseHook.aget_connection(self.airflow_conn_id)
        except AirflowNotFoundException as error:
            raise ConfigurationError(
                f"there is no Airflow connection {self.airflow_conn_id!r}",
                mend="add it: type HTTP, host and port of the API server, login and password",
            ) from error
        # Imports and files in a thread: half a second in which no other trigger should stall.
        return await asyncio.to_thread(make_dispatcher, connection, self.rules_file, self.dag_id)

    async def _pause(self, what: str, error: Exception) -> None:
        """Airflow starts a failed trigger again at once, from the last committed offset."""
        text = error.render() if isinstance(error, LCLStreamError) else repr(error)
        self.log.error("%s: %s", what, text)
        await asyncio.sleep(PAUSE_SECONDS)


def make_dispatcher(
    connection: Any, rules_file: str, dag_id: str
) -> tuple[RunEventDispatcher, AirflowClient]:
    """Return the dispatcher for a rules file, and its client of Airflow's REST interface."""
    # Here, in a thread, and not at the first message.
    importlib.import_module("httpx2")
    from airflow_provider_lclstream.arp.dispatcher import RunEventDispatcher
    from airflow_provider_lclstream.arp.rules import load_rules

    airflow = airflow_client(connection)
    return RunEventDispatcher(load_rules(rules_file), airflow, dag_id=dag_id), airflow
