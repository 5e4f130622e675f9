"""DAGs whose one task waits for a job on SLURM: in the triggerer, or on a worker.

The job ends when the file ``go`` appears in its directory.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_lclstream.operators.psik import PsikJobOperator

for dag_id, deferrable, retries, pause_seconds in (
    ("deferred", True, 2, 1),
    ("on_a_worker", False, 2, 1),
    ("on_a_worker_without_retries", False, 0, 1),
    ("with_long_pauses", False, 2, 600),
):
    with DAG(dag_id=dag_id, schedule=None):
        PsikJobOperator(
            task_id="job",
            job_spec={
                "name": "{{ run_id }}",
                "backend": "slurm",
                "script": "until [ -e go ]; do sleep 0.2; done\n",
            },
            deferrable=deferrable,
            retries=retries,
            retry_delay=timedelta(seconds=pause_seconds),
        )
