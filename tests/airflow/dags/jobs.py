"""DAGs that run small jobs, for tests."""

from __future__ import annotations

import os
import signal
from datetime import timedelta

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


class LosesItsWorker(PsikJobOperator):
    """On its first try its process is killed while it waits, as by an out-of-memory killer."""

    def wait_for(self, watch):
        if self.try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().wait_for(watch)

    def execute(self, context):
        self.try_number = context["ti"].try_number
        return super().execute(context)


with DAG(dag_id="job_survives_its_worker", schedule=None):
    LosesItsWorker(
        task_id="job",
        job_spec={"name": "outlives", "backend": "local", "script": "sleep 8\n"},
        deferrable=False,
        retries=1,
        retry_delay=timedelta(seconds=1),
    )

with DAG(dag_id="job_prints", schedule=None):
    PsikJobOperator(
        task_id="job",
        psik_conn_id="job_service",
        job_spec={
            "name": "prints",
            "backend": "local",
            "script": "for n in $(seq 600); do echo line $n; sleep 1; done\n",
        },
    )

with DAG(dag_id="job_runs_long", schedule=None):
    PsikJobOperator(
        task_id="job", job_spec={"name": "long", "backend": "local", "script": "exec sleep 600\n"}
    )

with DAG(dag_id="jobs_are_quick", schedule=None):
    # They end between their tasks' deferring and Airflow's next look, at different moments of it.
    PsikJobOperator.partial(task_id="job").expand(
        job_spec=[
            {"name": "quick", "backend": "local", "script": f"sleep {number / 10}\n"}
            for number in range(12)
        ]
    )

with DAG(dag_id="job_of_a_connection", schedule=None):
    PsikJobOperator(
        task_id="job",
        psik_conn_id="kept_in_the_database",
        job_spec={"name": "elsewhere", "backend": "local", "script": "sleep 0.5\n"},
    )
