"""Links from a task to what it started."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperatorLink, conf
from airflow.sdk.execution_time.xcom import XCom

XCOM_JOBID = "jobid"
"""The XCom under which every task that starts a job leaves the job's id, before it waits."""
DAG_VARIABLE, TASK_VARIABLE = "AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_TASK_ID"
RUN_VARIABLE = "AIRFLOW_CTX_DAG_RUN_ID"
"""What a job finds in its environment: the task that it belongs to, under Airflow's names."""
DEFAULT_CONNECTION = "psik_default"


class PsikJobLink(BaseOperatorLink):
    """From a task to the page of its job: states and logs."""

    @property
    def name(self) -> str:
        """The button's text."""
        return "Job"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address of the job's page, or an empty text where there is no job yet."""
        jobid = XCom.get_value(ti_key=ti_key, key=XCOM_JOBID)
        connection = getattr(operator, "psik_conn_id", DEFAULT_CONNECTION)
        return job_page(ti_key.dag_id, str(jobid), connection) if jobid else ""


def job_page(dag_id: str, jobid: str, connection: str = DEFAULT_CONNECTION) -> str:
    """Return the address of a job's page, which this provider's plugin serves."""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    query = "" if connection == DEFAULT_CONNECTION else f"?{urlencode({'connection': connection})}"
    return f"{base}/lclstream/dags/{quote(dag_id, safe='')}/jobs/{quote(jobid, safe='')}{query}"
