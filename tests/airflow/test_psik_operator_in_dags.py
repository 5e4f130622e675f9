"""The job operator inside real DAG runs (`dag.test`), with real local jobs."""

from __future__ import annotations

import json

from airflow_provider_lclstream.psik.store import JobStore


def test_a_job_completes_and_its_result_is_returned(run_dag):
    end = run_dag("job_completes", {"word": "given"})
    assert end.state == "success"
    assert end.xcoms["job", "return_value"]["files"] == {"result.json": {"word": "given"}}
    assert end.xcoms["job", "return_value"]["jobid"] == end.xcoms["job", "jobid"]
    assert "Pausing task as DEFERRED" in end.log


def test_the_link_leads_to_the_page_of_the_job(run_dag):
    end = run_dag("job_completes")
    jobid = end.xcoms["job", "jobid"]
    assert end.xcoms["job", "_link_PsikJobLink"].endswith(f"/dags/job_completes/jobs/{jobid}")


def test_a_failed_job_fails_the_task_with_the_end_of_its_log(run_dag):
    end = run_dag("job_fails")
    assert end.state == "failed"
    assert "the reason" in end.log
    assert "exit code 3" in end.log


def test_a_service_goes_on_after_its_task(run_dag, site):
    end = run_dag("job_serves")
    assert end.state == "success"
    assert end.xcoms["job", "return_value"] == {"port": 5}
    assert "Pausing task as DEFERRED" not in end.log
    job = JobStore(site).get(end.xcoms["job", "jobid"])
    assert job.reconcile() == "active"
    job.cancel()


def test_a_wait_finds_its_connection_in_the_database(run_dag, tmp_path):
    from airflow.models import Connection
    from airflow.utils.session import create_session

    with create_session() as session:
        place = json.dumps({"prefix": str(tmp_path)})
        session.add(Connection(conn_id="kept_in_the_database", conn_type="psik", extra=place))
    end = run_dag("job_of_a_connection")
    assert "Pausing task as DEFERRED" in end.log
    assert (end.state, len(JobStore(tmp_path).jobs())) == ("success", 1)
