"""Wait for a job that somebody else started, then run one of our own and return its result."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_lclstream.operators.psik import PsikJobOperator
from airflow_provider_lclstream.sensors.psik import PsikJobSensor

COUNT = """\
#!/bin/sh
echo "counting hits of run $RUN above $THRESHOLD"
printf '{"run": %d, "hits": %d}' "$RUN" 42 > hits.json
"""

with DAG(
    dag_id="count_hits",
    schedule=None,
    params={
        "calibration": "the id of a job",
        "run": 17,
        "threshold": 4.5,
        "backend": "default",
    },
) as dag:
    calibrated = PsikJobSensor(
        task_id="calibrated",
        jobid="{{ params.calibration }}",
        timeout=timedelta(hours=6),
    )
    count = PsikJobOperator(
        task_id="count",
        job_spec={
            "name": "hits of run {{ params.run }}",
            "backend": "{{ params.backend }}",
            "resources": {"duration": "10m", "node_count": 1},
            "environment": {"RUN": "{{ params.run }}", "THRESHOLD": "{{ params.threshold }}"},
            "script": COUNT,
        },
        result_files=["*.json"],
        retries=2,
    )
    calibrated >> count
