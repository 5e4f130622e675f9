"""The stage of the demo: broker, logbook, Airflow, and the files that tie them together."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from airflow_provider_lclstream.arp.airflow_client import AirflowClient, Credentials
from airflow_provider_lclstream.psik.models import BackendConfig, PsikConfig
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.sim.airflow_instance import (
    AirflowInstance,
    AirflowSettings,
    find_port,
)
from airflow_provider_lclstream.sim.component import Component, wait_until_written
from airflow_provider_lclstream.sim.daq import DataTakingSystem
from airflow_provider_lclstream.sim.elog import ElogServer, KafkaPublisher
from airflow_provider_lclstream.sim.elog_book import ElogBook
from airflow_provider_lclstream.sim.readiness import wait_for_first_sweep, wait_until_consumed
from airflow_provider_lclstream.sim.simulated_run import Format, streamer_template
from lclstreamer.core.errors import InternalError

INSTRUMENT = "MFX"
EXPERIMENT = "mfxx00126"
GROUP = "lclstream-demo"
TOPICS = ("runs", "experiment_switch")
BROKER_TIMEOUT_SECONDS = 20.0
AIRFLOW_TIMEOUT_SECONDS = 180.0
BATCH_SIZE = 5
"""Events in a message."""


@dataclass(frozen=True)
class StageSettings:
    """What the stage is set for.

    Attributes:
        folder: everything is written below it.
        ranks: event-producing ranks of every transfer.
        form: what simulated runs are written as.
        port: of Airflow's interface; 0 takes a free one.
    """

    folder: Path
    ranks: int
    form: Format
    port: int = 0


Tell = Callable[[str], None]


class Stage:
    """Everything that runs around the transfers. `close` ends it, however far it came."""

    def __init__(self, settings: StageSettings, tell: Tell) -> None:
        self.settings, self._tell = settings, tell
        self.folder = settings.folder
        self.port = find_port(settings.port)
        self.jobs = PsikConfig(
            prefix=self.folder / "jobs", backends={"default": BackendConfig(type="local")}
        )
        self.bootstrap = ""
        self._broker: Component | None = None
        self._elog: ElogServer | None = None
        self._airflow: AirflowInstance | None = None
        self._undo = contextlib.ExitStack()

    @property
    def airflow(self) -> AirflowInstance:
        """The Airflow on this stage, once `open` has made it."""
        if self._airflow is None:
            raise _not_open()
        return self._airflow

    @property
    def elog_url(self) -> str:
        """The logbook's address, once `open` has started it."""
        if self._elog is None:
            raise _not_open()
        return self._elog.url

    @property
    def store(self) -> JobStore:
        """The jobs that transfers start."""
        return JobStore.from_config(self.jobs)

    def client(self) -> AirflowClient:
        """A client of Airflow's REST interface, as the demo's user."""
        return AirflowClient(
            self.airflow.settings.url,
            Credentials(self.airflow.settings.username, self.airflow.settings.password),
        )

    def open(self) -> None:
        """Start broker, logbook and Airflow; Airflow is not waited for.

        Raises:
            LCLStreamError: one of them did not start; it says which and why.
        """
        for name in ("runs", "messages", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._start_broker()
        self._start_elog()
        self._write_settings()
        self._airflow = AirflowInstance(self._airflow_settings())
        self._airflow.prepare()
        self._tell("Airflow: its database is made; its four components start")
        self._undo.callback(self._airflow.stop)
        self._airflow.start()
        # Jobs end before the Airflow that would otherwise take notice of it.
        self._undo.callback(self._cancel_jobs)

    async def wait_ready(self) -> None:
        """Wait until Airflow is well, listens to run events and has swept the logbook once.

        Raises:
            LCLStreamError: it does not become so.
        """
        self.airflow.wait_healthy(
            AIRFLOW_TIMEOUT_SECONDS, lambda name: self._tell(f"Airflow: {name} is healthy")
        )
        DataTakingSystem(self.elog_url, EXPERIMENT).switch_to(INSTRUMENT)
        wait_until_consumed(self.bootstrap, GROUP, "experiment_switch", self.check)
        self._tell("Airflow listens to the logbook's run events")
        async with aclosing(self.client()) as client:
            if await wait_for_first_sweep(client, self.check):
                self._tell("Airflow has swept the logbook for runs that were missed")

    def check(self) -> None:
        """Raise `ComponentFailedError` if anything that has to run has ended."""
        if self._broker is not None:
            self._broker.check()
        self.airflow.check()

    def close(self) -> None:
        """Stop everything that was started, the last first; one that fails stops no other."""
        self._undo.close()

    def _cancel_jobs(self) -> None:
        for job in self.store.jobs():
            if not job.reconcile().is_final:
                job.cancel("the demo ends")

    def _start_broker(self) -> None:
        address = self.folder / "kafka-address"
        self._broker = Component(
            "Kafka broker",
            [sys.executable, "-m", "airflow_provider_lclstream.sim", "kafka",
             "--address-file", address],
            log=self.folder / "logs" / "kafka.log",
            environment=os.environ,
            folder=self.folder,
        )  # fmt: skip
        self._undo.callback(self._broker.stop)
        self._broker.start()
        self.bootstrap = wait_until_written(address, self._broker, BROKER_TIMEOUT_SECONDS)
        self._tell(f"Kafka broker listens at {self.bootstrap}")

    def _start_elog(self) -> None:
        book = ElogBook()
        book.register_experiment(EXPERIMENT, INSTRUMENT)
        self._elog = ElogServer(book, KafkaPublisher(self.bootstrap))
        self._undo.callback(self._elog.close)
        self._elog.start()
        self._tell(f"Elog listens at {self._elog.url}")

    def _write_settings(self) -> None:
        rule = {
            "name": "demo",
            "instruments": [INSTRUMENT],
            "request": {
                "ranks": self.settings.ranks,
                "start_timeout_seconds": 300,
                "idle_timeout_seconds": 180,
                "drain_timeout_seconds": 180,
                "streamer_duration_minutes": 10,
                "labels": {"purpose": "demo"},
                "streamer": streamer_template(
                    str(self.folder / "runs"), self.settings.form, batch_size=BATCH_SIZE
                ),
            },
        }
        self._write_yaml("rules.yaml", {"version": 1, "max_age": "1h", "rules": [rule]})
        self._write_yaml("site.yaml", {"psik": self.jobs.model_dump(mode="json")})

    def _write_yaml(self, name: str, document: dict[str, Any]) -> None:
        text = yaml.safe_dump(document, sort_keys=False)
        (self.folder / name).write_text(text, encoding="utf-8")

    def _airflow_settings(self) -> AirflowSettings:
        cores = os.cpu_count() or 1
        options = {
            "site_file": str(self.folder / "site.yaml"),
            "run_event_rules_file": str(self.folder / "rules.yaml"),
            "run_event_topics": ",".join(TOPICS),
            "run_event_kafka_conn_id": "lclstream_kafka",
            "airflow_api_conn_id": "lclstream_airflow_api",
            "elog_conn_id": "lclstream_elog",
            "sweep_interval": "900",
            "job_poll_interval": "0.25",
            # Every transfer keeps about two cores busy for some seconds.
            "max_active_transfers": str(max(3, cores)),
        }
        settings = AirflowSettings(
            home=self.folder / "airflow",
            port=self.port,
            options={("lclstream", name): value for name, value in options.items()},
            parallel_tasks=max(4, cores),
        )
        settings.connections.update(
            {
                # From the environment: the triggerer's first question to Airflow for a connection
                # takes it several seconds.
                "psik_default": {
                    "conn_type": "psik",
                    "extra": {"site_file": str(self.folder / "site.yaml")},
                },
                "lclstream_kafka": {"conn_type": "kafka", "extra": self._kafka_options()},
                "lclstream_elog": {
                    "conn_type": "http",
                    "host": self.elog_url,
                    "extra": {"experiments": [EXPERIMENT]},
                },
                "lclstream_airflow_api": {
                    "conn_type": "http",
                    "host": settings.url,
                    "login": settings.username,
                    "password": settings.password,
                },
            }
        )
        return settings

    def _kafka_options(self) -> dict[str, str]:
        return {
            "bootstrap.servers": self.bootstrap,
            "group.id": GROUP,
            # With the classic protocol a mock broker lets a new member wait for the old session.
            "group.protocol": "consumer",
            "enable.auto.commit": "false",
            "auto.offset.reset": "earliest",
        }


def _not_open() -> InternalError:
    return InternalError("the stage is not open", mend="call `open` first")
