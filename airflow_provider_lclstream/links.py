"""Links from a task to what it started."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink, conf
from airflow.sdk.execution_time.xcom import XCom

XCOM_JOBID = "jobid"
"""The XCom under which every task that starts a job leaves the job's id, before it waits."""


class PsikJobLink(BaseOperatorLink):
    """From a task to the page of its job: states and logs."""

    @property
    def name(self) -> str:
        """The button's text."""
        return "Job"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002  (Airflow's signature)
        """Return the address of the job's page, or an empty text where there is no job yet."""
        jobid = XCom.get_value(ti_key=ti_key, key=XCOM_JOBID)
        return job_page(ti_key.dag_id, str(jobid)) if jobid else ""


def job_page(dag_id: str, jobid: str) -> str:
    """Return the address of a job's page, which this provider's plugin serves."""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    return f"{base}/lclstream/dags/{quote(dag_id, safe='')}/jobs/{quote(jobid, safe='')}"
