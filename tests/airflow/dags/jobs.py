"""DAGs that run small jobs, for tests."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_lclstream.operators.psik import PsikJobOperator

with DAG(dag_id="job_completes", schedule=None, params={"word": "plain"}):
    PsikJobOperator(
        task_id="job",
        job_spec={
            "name": "writes a result",
            "backend": "local",
            "script": 'sleep 0.5\nprintf \'{"word": "%s"}\' "$WORD" > result.json\n',
            "environment": {"WORD": "{{ params.word }}"},
        },
        result_files=["*.json"],
    )

with DAG(dag_id="job_fails", schedule=None):
    PsikJobOperator(
        task_id="job",
        job_spec={"name": "fails", "backend": "local", "script": "echo the reason >&2\nexit 3\n"},
    )

with DAG(dag_id="job_serves", schedule=None):
    PsikJobOperator(
        task_id="job",
        job_spec={
            "name": "serves",
            "backend": "local",
            "script": "sleep 0.3\necho '{\"port\": 5}' > ready.json\nexec sleep 600\n",
        },
        ready_file="ready.json",
        wait_before_deferring=5,
    )
