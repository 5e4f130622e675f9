"""Jobs on a service, through Airflow: what a folder does not have.

Outages, refusals, identities, connections. That operator, trigger and sensor do the same in both
places is shown by their own tests.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import threading
import time

import pytest
from identities import LOOPBACK, introduce, person, service
from task_instances import Task

from airflow_provider_lclstream.hooks.psik import PsikHook
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import ConfigurationError, PermissionDeniedError, UnavailableError

SLEEPS = {"name": "sleeps", "backend": "local", "script": "exec sleep 600\n"}
QUICK = {"name": "quick", "backend": "local", "script": "true\n"}


@pytest.fixture
def connection(monkeypatch):
    """``connection(host, port, prefix=…)``: a hook to a connection made of these."""

    def define(host="", port=None, **extra):
        document = {"conn_type": "psik", "host": host, "port": port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_PSIK_TRIED", json.dumps(document))
        return PsikHook("psik_tried")

    return define


@pytest.fixture
def operator(site):
    """Make the job operator for a connection."""
    from airflow.sdk import DAG

    from airflow_provider_lclstream.operators.psik import PsikJobOperator

    def make(conn_id, job_spec, **kwargs):
        with DAG("dag", schedule=None):
            return PsikJobOperator(task_id="job", job_spec=job_spec, psik_conn_id=conn_id, **kwargs)

    return make


@pytest.fixture
def answering():
    """``answering(503)``: a server that gives every request this status; its URL."""
    servers = []

    def start(status):
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST = do_DELETE = answer
            log_message = staticmethod(lambda *_: None)

        server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://{LOOPBACK}:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_job_knows_its_task_and_its_files_go_there_and_back(service_place, operator):
    spec = {
        **QUICK,
        "environment": {"AIRFLOW_CTX_DAG_ID": "somebody else's", "KEPT": "yes"},
        "script": "cat below/in.json > out.json\n"
        'printf \'["%s", "%s", "%s", "%s"]\' "$AIRFLOW_CTX_DAG_ID" "$AIRFLOW_CTX_TASK_ID" '
        '"$AIRFLOW_CTX_DAG_RUN_ID" "$KEPT" > whose.json\n',
    }
    job = operator(
        service_place.conn_id, spec, files={"below/in.json": '{"ü": 1}'}, result_files=["*.json"],
        deferrable=False,
    )  # fmt: skip
    result = job.execute(Task("run 1").context())
    assert result["files"] == {"out.json": {"ü": 1}, "whose.json": ["dag", "job", "run 1", "yes"]}
    made = JobStore(service_place.prefix).get(result["jobid"])
    assert made.about["owner"] == "airflow"


def test_a_retry_submits_nothing_twice_even_where_the_answer_was_lost(service_place, operator):
    """The service did what it was asked for, but its answer never came."""
    from airflow.sdk.exceptions import TaskDeferred

    from airflow_provider_lclstream.operators.task_memory import TaskMemory

    task, store = Task("answer lost"), JobStore(service_place.prefix)
    job = operator(service_place.conn_id, SLEEPS)
    before = len(store.jobs())
    key = TaskMemory(task.context()).key()
    lost = job.hook.access.create(JobSpec.model_validate(SLEEPS), idempotency_key=key)
    job.hook.close()
    task.retry()
    with pytest.raises(TaskDeferred) as left:
        operator(service_place.conn_id, SLEEPS).execute(task.context())
    assert left.value.trigger.jobid == lost.jobid
    assert len(store.jobs()) == before + 1
    store.get(lost.jobid).cancel()


def test_what_policy_forbids_is_not_tried_again(serve, operator):
    from airflow.sdk.exceptions import AirflowFailException

    rules = [{"who": ["airflow"], "max_minutes": 1}]
    place = serve(policy={"rules": rules})
    with pytest.raises(AirflowFailException, match="jobs may run for at most 1 minutes"):
        operator(place.conn_id, QUICK).execute(Task().context())
    with PsikHook(place.conn_id).opened() as access, pytest.raises(PermissionDeniedError):
        access.create(JobSpec(script="true", backend="local"))


@pytest.mark.parametrize("status", [503, 500, 429])
def test_a_service_in_trouble_is_asked_again_later(connection, operator, answering, status):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    connection(answering(status))
    with pytest.raises(AirflowException, match=str(status)) as failed:
        operator("psik_tried", QUICK).execute(Task().context())
    assert not isinstance(failed.value, AirflowFailException)


def test_a_service_that_is_not_there_is_asked_again_later(connection, operator, free_port):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    connection(f"http://{LOOPBACK}:{free_port()}")
    with pytest.raises(AirflowException, match="no connection") as failed:
        operator("psik_tried", QUICK).execute(Task().context())
    assert not isinstance(failed.value, AirflowFailException)


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_wait_outlives_its_service(serve, operator, free_port, wait_for, deferrable):
    """The service goes away while its job is waited for, and comes back at the same address."""
    from airflow.sdk.exceptions import TaskDeferred

    task, url = Task(f"outage {deferrable}"), f"http://{LOOPBACK}:{free_port()}"
    first = serve(url)
    spec = {**QUICK, "script": "touch here\nsleep 3\necho done\n"}
    job = operator(first.conn_id, spec, deferrable=deferrable, poll_interval=0.1)

    def interrupt():
        wait_for(lambda: list(first.prefix.glob("*/work/here")), what="the job's start")
        first.process.kill()
        first.process.wait()
        time.sleep(3)
        first.restart()

    interruption = threading.Thread(target=interrupt)
    interruption.start()
    try:
        result = job.execute(task.context())
    except TaskDeferred as left:
        assert deferrable

        async def fire(trigger=left.trigger):
            (event,) = [event async for event in trigger.run()]
            return event.payload

        event = asyncio.run(asyncio.wait_for(fire(), 60))
        interruption.join()
        result = job.execute_complete(task.context(), event)
    interruption.join()
    assert result["state"] == "completed"


def test_very_many_waits_need_few_threads(service_place, site):
    """300 triggers in one event loop, each waiting for one job by long-poll."""
    from airflow_provider_lclstream.triggers.psik import PsikJobTrigger

    store = JobStore(service_place.prefix, {"local": BackendConfig()})
    job = store.create(JobSpec(script="sleep 4\n", backend="local"), owner="airflow")
    job.submit()
    before, most = threading.active_count(), 0

    async def one(conn_id):
        trigger = PsikJobTrigger(
            jobid=job.jobid, psik_conn_id=conn_id, deadline_unix=time.time() + 60
        )
        return [event.payload["status"] async for event in trigger.run()]

    async def watch():
        nonlocal most
        while True:
            most = max(most, threading.active_count())
            await asyncio.sleep(0.05)

    async def run():
        watching = asyncio.create_task(watch())
        names = [service_place.conn_id, "psik_default"] * 150
        ends = await asyncio.gather(*(one(name) for name in names))
        watching.cancel()
        return ends

    os.environ["AIRFLOW_CONN_PSIK_DEFAULT"] = json.dumps(
        {"conn_type": "psik", "extra": {"prefix": str(service_place.prefix)}}
    )
    try:
        ends = asyncio.run(run())
    finally:
        del os.environ["AIRFLOW_CONN_PSIK_DEFAULT"]
    assert ends == [["final"]] * 300
    assert most - before <= (os.cpu_count() or 1) + 6


def test_connections_that_name_a_service(connection, service_place):
    port = int(service_place.url.rsplit(":", 1)[1])
    for hook in (
        connection(service_place.url),
        connection(f"{service_place.url}/"),
        connection(f"http://{LOOPBACK}", port),
    ):
        assert hook.access.where == service_place.url
        hook.close()
        ok, message = hook.test_connection()
        assert ok
        assert message == f"{service_place.url}: jobs may be submitted to local (local)"


def test_connections_that_are_mistaken(connection, service_place, tmp_path):
    with pytest.raises(ConfigurationError, match="plain http"):
        _ = connection("http://192.0.2.1:80").access
    with pytest.raises(ConfigurationError, match="a service and a job folder"):
        _ = connection(service_place.url, prefix=str(tmp_path)).access
    with pytest.raises(ConfigurationError, match="lacks certificate and private_key"):
        _ = connection("https://127.0.0.1:1", authorities="PEM").access
    ok, message = connection(f"http://{LOOPBACK}:1").test_connection()
    assert not ok
    assert "no connection" in message


@pytest.fixture
def secured(tmp_path, processes, wait_for):
    """A service under mutual TLS, and somebody it knows."""
    server, client = service(tmp_path / "server"), person(tmp_path / "client", "airflow")
    document = {"prefix": str(tmp_path / "jobs"), "backends": {"local": {"type": "local"}}}
    (tmp_path / "psik.json").write_text(json.dumps(document))
    running = processes.start(
        ["lclstream", "psik", "serve", f"https://{LOOPBACK}:0", "--identity", server.path,
         "--config", tmp_path / "psik.json"]
    )  # fmt: skip
    wait_for(lambda: "listening" in running.stdout, what="the service listens")
    url = json.loads(running.stdout.splitlines()[0])["listening"]
    introduce(server, client, "airflow", alias="psik", url=url)
    return server, client, url


def test_an_identity_over_mutual_tls(secured, connection, operator, tmp_path):
    server, client, url = secured
    hook = connection("psik", identity=str(client.path))
    ok, message = hook.test_connection()
    assert ok, message
    spec = {**QUICK, "script": "echo 1 > a.json\n"}
    result = operator("psik_tried", spec, deferrable=False, result_files=["a.json"]).execute(
        Task("tls").context()
    )
    assert result["files"] == {"a.json": 1}
    [signed] = [path for path in client.client_certificates.glob("*.crt") if "psik" in path.name]
    texts = {
        "certificate": signed.read_text(),
        "private_key": client.key.read_text(),
        "authorities": server.authority_certificate.read_text(),
    }
    hook = connection(url, **texts)

    async def look():
        access = await hook.get_async_conn()
        try:
            return await access.look(result["jobid"])
        finally:
            await access.aclose()

    facts = asyncio.run(look())
    assert facts.state == "completed"
    assert "airflow" in facts.owner
    assert texts["private_key"].splitlines()[1] not in repr(vars(hook))
    stranger = person(tmp_path / "stranger", "stranger")
    (stranger.known_servers / "psik.crt").write_text(server.authority_certificate.read_text())
    hook = connection(url, identity=str(stranger.path))
    assert "closed the connection" in hook.test_connection()[1]
    with pytest.raises(UnavailableError):
        hook.access.look(result["jobid"])
    hook.close()
