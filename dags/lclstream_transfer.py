"""One run, streamed: buffer up, streamer, settle, buffer down.

Checking the request is part of the first task: a task of its own would cost more than a second
before the first event. Start it from the form, over REST, or by a run event.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Label, TriggerRule, chain

from airflow_provider_lclstream.hooks.settings import number
from airflow_provider_lclstream.operators.transfer import (
    BufferDownOperator,
    BufferUpOperator,
    SettleOperator,
    StreamerOperator,
)
from airflow_provider_lclstream.operators.trigger_form import params_of
from airflow_provider_lclstream.transfer.models import TransferRequest

DOC = """
### A transfer

A buffer is started, a streamer reads the run's events into it, consumers pull each message
exactly once, and at the end the ledgers are compared: the run is green only if **everything that
was produced was delivered**. The task `settle` has the numbers as its result.

Where consumers connect: the result of `buffer_up`. **To cancel, mark the run as failed**: its jobs
are canceled and `buffer_down` sees to it. To run it again, clear `buffer_up`.

The parameter `streamer` is what `lclstreamer run` takes, without handlers, for example:
```
{"source_identifier": "exp=mfxx00126,run=17", "skip_incomplete_events": true,
 "event_source": {"type": "Psana2EventSource"},
 "data_sources": {
   "timestamp": {"type": "Psana2Timestamp"},
   "image": {"type": "Psana2DetectorInterface",
             "psana_name": "jungfrau", "psana_fields": "raw.raw"}},
 "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": 10},
 "data_serializer": {"type": "Hdf5Serializer"}}
```
"""

with DAG(
    dag_id="lclstream_transfer",
    description="Stream one run through a buffer to whoever pulls",
    schedule=None,
    catchup=False,
    params=params_of(TransferRequest),
    max_active_runs=int(number("max_active_transfers")),
    # Retries are for lost workers and passing errors: a task that is tried again takes its job up.
    default_args={"retries": 2, "retry_delay": timedelta(seconds=2)},
    tags=["lclstream"],
    doc_md=DOC,
) as dag:
    buffer_up = BufferUpOperator(
        task_id="buffer_up",
        timeout_seconds=number("buffer_start_timeout"),
        wait_before_deferring=number("ready_wait"),
    ).as_setup()
    streamer = StreamerOperator(task_id="streamer", buffer_task_id="buffer_up")
    settle = SettleOperator(
        task_id="settle",
        buffer_task_id="buffer_up",
        streamer_task_id="streamer",
        wait_before_deferring=number("ready_wait"),
        # The buffer is settled however the streamer ended.
        trigger_rule=TriggerRule.ALL_DONE,
    )
    # A teardown without an edge to its setup runs even if the setup was skipped or failed.
    buffer_down = BufferDownOperator(
        task_id="buffer_down", job_task_ids=["streamer", "buffer_up"], settle_task_id="settle"
    ).as_teardown(on_failure_fail_dagrun=True)
    chain(buffer_up, Label("endpoints"), streamer, Label("all ranks ended"), settle, buffer_down)
