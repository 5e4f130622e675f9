"""The page of a job, served by Airflow's own API server; nothing of it is open to everybody."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from urllib.parse import urlsplit, urlunsplit

import pytest

from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.store import JobStore


@pytest.fixture(scope="module", params=["folder", "service"])
def place(request):
    """Both places where jobs may be kept."""
    return request.getfixturevalue(f"{request.param}_place")


@pytest.fixture(scope="module")
def job(place):
    """A finished job of the DAG job_completes whose log holds markup."""
    store = JobStore(place.prefix, {"local": BackendConfig()})
    script = "echo '<script>alert(1)</script>'\nexit 3\n"
    job = store.create(
        JobSpec(name="a <b>job</b>", script=script, backend="local",
                environment={"TOKEN": "kept-to-itself", "AIRFLOW_CTX_DAG_ID": "job_completes"}),
        owner="airflow",
    )  # fmt: skip
    job.submit()
    return job


@pytest.fixture
def page(job, place):
    """``page(dag_id)``: where the job's page is, as the button leads there."""
    from airflow_provider_lclstream.links import job_page

    def path(dag_id="job_completes", jobid=job.jobid, connection=place.conn_id):
        url = urlsplit(job_page(dag_id, jobid, connection))
        return urlunsplit(("", "", url.path, url.query, ""))

    return path


def test_it_shows_states_and_logs_to_who_may_read_the_tasks_logs(api, job, page, wait_for):
    wait_for(lambda: job.reconcile() == "failed", what="the job's end")
    status, text = api.request("GET", page(), token=api.token("guest"))
    assert status == 200
    assert "is <b>failed</b>: exit code 3." in text
    assert "<td>run time</td><td>0." in text
    assert "peak memory" in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>" not in text
    assert "<b>job" not in text
    assert "kept-to-itself" not in text


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/dags/x/jobs/1"])
def test_nothing_is_served_without_a_token(api, path):
    assert api.request("GET", f"/lclstream{path}")[0] in {401, 403, 404}


def test_the_page_wants_a_token(api, page):
    assert api.request("GET", page())[0] == 401
    assert api.request("GET", page(), token="forged")[0] == 403


def test_a_job_is_shown_for_its_own_dag_only(api, page):
    token = api.token("guest")
    assert api.request("GET", page("lclstream_transfer"), token=token)[0] == 404
    for jobid in ("1.5", "../../etc", "x"):
        assert api.request("GET", page(jobid=jobid), token=token)[0] == 404


def test_the_page_tells_nothing_of_connections(api, page, monkeypatch, free_port):
    """One that is not there, of another type, broken or without an answer: all the same."""
    for name, document in {
        "OTHER_TYPE": {"conn_type": "http", "host": "192.0.2.1"},
        "AWAY": {"conn_type": "psik", "host": f"http://127.0.0.1:{free_port()}"},
        "NO_FOLDER": {"conn_type": "psik", "extra": {"prefix": "/proc/none"}},
        "NO_SITE": {"conn_type": "psik", "extra": {"site_file": "/none.yaml"}},
        "NO_IDENTITY": {"conn_type": "psik", "host": "psik", "extra": {"identity": "/none"}},
    }.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(document))
    monkeypatch.setenv("AIRFLOW_CONN_NO_JSON", "{")
    token, answers = api.token("guest"), set()
    for name in ("other_type", "away", "no_folder", "no_site", "no_identity", "no_json", "none"):
        answers.add(api.request("GET", page(connection=name), token=token))
    answers.add(api.request("GET", page(jobid="1.5"), token=token))
    ((status, text),) = answers
    assert status == 404
    assert "no such job" in text


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_looking_at_a_page_changes_no_job(api, place, page):
    """The machine of the API server may know nothing of jobs: it only reads."""
    store = JobStore(place.prefix, {"local": BackendConfig()})
    spec = JobSpec(script="true\n", backend="local", environment={"AIRFLOW_CTX_DAG_ID": "d"})
    job = store.create(spec)
    history = "{},1,queued,\n{},1,active,\n".format(*(time.time() for _ in "ab"))
    with (job.folder / "status.csv").open("a") as log:
        log.write(history)
    path = page("job_completes", job.jobid)
    assert api.request("GET", path, token=api.token("guest"))[0] == 404
    spec = spec.model_copy(update={"environment": {"AIRFLOW_CTX_DAG_ID": "job_completes"}})
    (job.folder / "spec.json").write_text(json.dumps(spec.to_stored()))
    status, text = api.request("GET", path, token=api.token("guest"))
    assert (status, "is <b>active</b>" in text) == (200, True)
    assert job.state() == "active", "there is no such process, but that is not for a page to say"


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
