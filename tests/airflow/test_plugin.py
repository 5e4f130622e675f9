"""The page of a job, served by Airflow's own API server; nothing of it is open to everybody."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.store import JobStore


@pytest.fixture(scope="module")
def job(site):
    """A finished job of the DAG job_completes whose log holds markup."""
    store = JobStore(site, {"local": BackendConfig()})
    script = "echo '<script>alert(1)</script>'\n"
    job = store.create(
        JobSpec(name="a <b>job</b>", script=script, backend="local",
                environment={"TOKEN": "kept-to-itself", "AIRFLOW_CTX_DAG_ID": "job_completes"}),
    )  # fmt: skip
    job.submit()
    return job


def page(job, dag_id="job_completes"):
    return f"/lclstream/dags/{dag_id}/jobs/{job.jobid}"


def test_it_shows_states_and_logs_to_who_may_read_the_tasks_logs(api, job, wait_for):
    wait_for(lambda: job.reconcile() == "completed", what="the job's end")
    status, text = api.request("GET", page(job), token=api.token("guest"))
    assert status == 200
    assert "completed" in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>" not in text
    assert "<b>job" not in text
    assert "kept-to-itself" not in text


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/dags/x/jobs/1"])
def test_nothing_is_served_without_a_token(api, path):
    assert api.request("GET", f"/lclstream{path}")[0] in {401, 403, 404}


def test_the_page_wants_a_token(api, job):
    assert api.request("GET", page(job))[0] == 401
    assert api.request("GET", page(job), token="forged")[0] == 403


def test_a_job_is_shown_for_its_own_dag_only(api, job):
    token = api.token("guest")
    assert api.request("GET", page(job, "lclstream_transfer"), token=token)[0] == 404
    for jobid in ("1.5", "..%2F..%2Fetc", "x"):
        path = f"/lclstream/dags/job_completes/jobs/{jobid}"
        assert api.request("GET", path, token=token)[0] == 404


def test_loading_the_plugin_imports_no_web_framework(tmp_path):
    program = (
        "import sys, airflow.plugins_manager\n"
        "before = set(sys.modules)\n"
        "from airflow_provider_lclstream.plugin import LCLStreamPlugin\n"
        "LCLStreamPlugin()\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "assert new <= {'airflow', 'airflow_provider_lclstream'}, new\n"
    )
    environment = {"AIRFLOW_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=60)


def test_airflow_lists_the_plugin(api):
    status, text = api.request("GET", "/api/v2/plugins?limit=100", token=api.token("arp"))
    assert status == 200
    assert '"/lclstream"' in text
