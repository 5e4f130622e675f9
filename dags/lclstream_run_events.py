"""Listen to the logbook's run events, and sweep up what Kafka lost.

The watcher lives in the triggerer as long as this DAG is not paused: it starts one run of
`lclstream_transfer` per run that a rule fits. Never start transfers from an asset's schedule:
Airflow gathers a burst of asset events into one run (apache/airflow#56050).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, AssetWatcher, DeltaTriggerTimetable

from airflow_provider_lclstream.arp.rules import RULES_FILE_VARIABLE
from airflow_provider_lclstream.hooks.settings import number, setting, words
from airflow_provider_lclstream.operators.run_events import SweepRunsOperator
from airflow_provider_lclstream.triggers.run_event import RunEventTrigger

DOC = """
### Run events

While this DAG is **not paused**, a watcher in the triggerer hears the logbook's run events on Kafka
and starts a run of `lclstream_transfer` for each run that a rule fits. The task `sweep` asks the
Elog over REST, every few minutes and whenever a run has ended, for runs that were missed.

Settings: section `[lclstream]` of Airflow's configuration. New rules are read when the watcher is
started: pause this DAG and unpause it.
"""

RULES_FILE = setting("run_event_rules_file") or os.environ.get(RULES_FILE_VARIABLE, "")


def make_schedule() -> Any:
    """Return the watcher's asset and the sweep's clock; nothing where there are no rules yet."""
    if not RULES_FILE:
        return None
    trigger = RunEventTrigger(
        topics=words("run_event_topics"),
        rules_file=RULES_FILE,
        kafka_config_id=setting("run_event_kafka_conn_id"),
        dlq_topic=setting("run_event_dead_letter_topic") or None,
        airflow_conn_id=setting("airflow_api_conn_id"),
    )
    ended_runs = Asset("lclstream_ended_runs", watchers=[AssetWatcher("run_events", trigger)])
    clock = DeltaTriggerTimetable(timedelta(seconds=number("sweep_interval")))
    return AssetOrTimeSchedule(timetable=clock, assets=[ended_runs])


with DAG(
    dag_id="lclstream_run_events",
    description="Start a transfer for each run event that a rule fits",
    schedule=make_schedule(),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["lclstream"],
    doc_md=DOC if RULES_FILE else f"{DOC}\n**There are no rules: set `run_event_rules_file`.**",
) as dag:
    SweepRunsOperator(
        task_id="sweep",
        elog_conn_id=setting("elog_conn_id"),
        airflow_conn_id=setting("airflow_api_conn_id"),
        rules_file=RULES_FILE,
        execution_timeout=timedelta(minutes=5),
    )
