"""A whole Airflow (API server, scheduler, DAG processor, triggerer): what only it can show.

Marking, clearing, killed workers, a triggerer that goes away. One instance serves all tests here;
each looks at DAG runs of its own.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
import yaml

from airflow_provider_lclstream.psik.models import BackendConfig
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.sim.elog import KafkaPublisher
from airflow_provider_lclstream.sim.elog_book import ElogBook
from airflow_provider_lclstream.sim.kafka_broker import MockBroker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

STREAMER = {
    "source_identifier": "made up",
    "skip_incomplete_events": False,
    "event_source": {
        "type": "InternalEventSource", "number_of_events_to_generate": 10_000,
        "events_per_second": 5,
    },
    "data_sources": {"event": {"type": "EventId"}},
    "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": 1},
    "data_serializer": {"type": "Hdf5Serializer", "fields": {"event": "/event"}},
}  # fmt: skip


EXPERIMENT = "mfxlive01"
RULES = {"rules": [{"name": "every run", "request": {"streamer": STREAMER}}]}


class Live:
    """The instance, its REST interface and its jobs."""

    def __init__(self, instance, api, store, wait_for):
        self.instance, self.store = instance, store
        self.rules_file = instance.settings.home.parent / "rules.yaml"
        self._api, self._wait_for = api, wait_for
        self._token = ""

    def call(self, method, path, body=None):
        """A request with a token; gives the document of a success, else None."""
        self._token = self._token or self._api.token("admin")
        status, text = self._api.request(method, f"/api/v2{path}", body, token=self._token)
        return json.loads(text) if status < 300 else None

    def start(self, dag_id, run_id, conf=None):
        """Start a DAG run, as soon as the DAG is known."""
        body = {"logical_date": None, "dag_run_id": run_id, "conf": conf or {}}
        self.until(lambda: self.call("POST", f"/dags/{dag_id}/dagRuns", body), f"{dag_id} starts")
        return f"/dags/{dag_id}/dagRuns/{quote(run_id)}"

    def until(self, condition, what, seconds=90):
        """Wait for something to become true; gives it."""
        return self._wait_for(condition, timeout_seconds=seconds, what=what)

    def state(self, run, task=None):
        """The state of a DAG run, or of a task in it."""
        document = self.call("GET", run if task is None else f"{run}/taskInstances/{task}")
        return (document or {}).get("state")

    def job(self, run, task="job"):
        """The job that a task started, or None so far."""
        document = self.call("GET", f"{run}/taskInstances/{task}/xcomEntries/jobid")
        return self.store.get(document["value"].strip('"')) if document else None

    def deferred_job(self, run, task="job"):
        """Wait until a task is deferred, its trigger waits and its job runs; gives the job."""

        def is_watched():
            found = self.call("GET", f"{run}/taskInstances/{task}") or {}
            return found.get("state") == "deferred" and found.get("triggerer_job")

        self.until(is_watched, f"{task} is deferred")
        time.sleep(3)  # the triggerer has taken it; its coroutine starts a moment later
        job = self.job(run, task)
        self.until(lambda: job.reconcile() == "active", "the job is active")
        return job


@pytest.fixture(scope="module")
def broker():
    running = MockBroker(["runs", "rejected"])
    yield running
    running.close()


@pytest.fixture
def publish(broker):
    return KafkaPublisher(broker.address)


@pytest.fixture
def elog_book():
    book = ElogBook()
    book.register_experiment(EXPERIMENT, "MFX")
    return book


@pytest.fixture(scope="module")
def live(tmp_path_factory, bundles, make_api, wait_for, broker, service_place):
    from airflow_provider_lclstream.sim import airflow_instance

    home = tmp_path_factory.mktemp("live")
    store = JobStore(home / "jobs", {"local": BackendConfig()})
    site = {"psik": {"prefix": str(store.prefix), "backends": {"local": {"type": "local"}}}}
    (home / "site.yaml").write_text(yaml.safe_dump(site))
    options = {
        ("lclstream", "site_file"): str(home / "site.yaml"),
        ("lclstream", "max_active_transfers"): "1",
        ("lclstream", "run_event_rules_file"): str(home / "rules.yaml"),
        ("lclstream", "run_event_topics"): "runs",
        ("lclstream", "run_event_dead_letter_topic"): "rejected",
        ("dag_processor", "dag_bundle_config_list"): json.dumps(bundles),
        ("triggerer", "triggerer_health_check_threshold"): "12",
    }
    (home / "rules.yaml").write_text("rules: [{name: without a request}]")
    port = airflow_instance.find_port()
    settings = airflow_instance.AirflowSettings(home=home / "airflow", port=port, options=options)
    kafka = {
        "bootstrap.servers": broker.address, "group.id": "live", "group.protocol": "consumer",
        "auto.offset.reset": "earliest", "enable.auto.commit": "false",
    }  # fmt: skip
    account = {"conn_type": "http", "host": settings.url, "login": settings.username}
    settings.connections.update(
        kafka_default={"conn_type": "kafka", "extra": kafka},
        lclstream_airflow_api={**account, "password": settings.password},
    )
    settings.connections.update(
        job_service={"conn_type": "psik", "host": service_place.url},
    )
    instance = airflow_instance.AirflowInstance(settings)
    try:
        instance.prepare()
        instance.start()
        instance.wait_healthy(120)
        api = make_api(settings.url, {"admin": settings.password})
        yield Live(instance, api, store, wait_for)
    finally:
        instance.stop()
        for job in store.jobs():
            job.cancel()


def request(run_number):
    return {
        "experiment": "mfxx00126", "run_number": run_number, "streamer": STREAMER,
        "buffer_backend": "local", "streamer_backend": "local",
    }  # fmt: skip


def test_a_lost_worker_loses_no_job(live):
    run = live.start("job_survives_its_worker", "lost")
    live.until(lambda: live.state(run) in {"success", "failed"}, "the run ends")
    assert live.state(run) == "success"
    task = live.call("GET", f"{run}/taskInstances/job")
    assert task["try_number"] == 2
    jobs = [job for job in live.store.jobs() if job.spec.name == "outlives"]
    assert [str(job.reconcile()) for job in jobs] == ["completed"]


def test_a_deferred_task_marked_failed_cancels_its_job(live):
    run = live.start("job_runs_long", "marked")
    job = live.deferred_job(run)
    assert live.call("PATCH", f"{run}/taskInstances/job", {"new_state": "failed"})
    live.until(lambda: job.reconcile() == "canceled", "the job is canceled", 30)
    assert live.state(run, "job") == "failed"


def test_what_a_job_prints_is_in_its_tasks_log_while_it_runs(live, service_place):
    """A job on a service, waited for in the triggerer; then its task is marked."""
    run = live.start("job_prints", "prints")

    def shown():
        text = json.dumps(live.call("GET", f"{run}/taskInstances/job/logs/1"))
        return [number for number in range(1, 600) if f'stdout.1: line {number}"' in text]

    live.until(lambda: len(shown()) > 5, "its lines appear")
    numbers = shown()
    assert numbers == list(range(1, len(numbers) + 1)), "each once, in order"
    assert live.state(run, "job") == "deferred"
    text = json.dumps(live.call("GET", f"{run}/taskInstances/job/logs/1"))
    assert "HTTP Request" not in text
    jobid = live.call("GET", f"{run}/taskInstances/job/xcomEntries/jobid")["value"].strip('"')
    job = JobStore(service_place.prefix).get(jobid)
    assert live.call("PATCH", f"{run}/taskInstances/job", {"new_state": "failed"})
    live.until(lambda: str(job.state()) == "canceled", "the job is canceled", 30)


def test_a_cleared_task_starts_over_and_leaves_nothing_behind(live):
    run = live.start("job_runs_long", "cleared")
    first = live.deferred_job(run)
    body = {"dry_run": False, "task_ids": ["job"], "dag_run_id": "cleared", "only_failed": False}
    assert live.call("POST", "/dags/job_runs_long/clearTaskInstances", body)
    live.until(
        lambda: (
            live.call("GET", f"{run}/taskInstances/job")["try_number"] == 2
            and live.state(run, "job") == "deferred"
        ),
        "the second try is deferred",
    )
    second = live.job(run)
    assert second.jobid != first.jobid
    assert first.reconcile() == "canceled"
    time.sleep(13)  # by now the first try's trigger has been removed, or has fired
    live.until(lambda: live.state(run, "job") == "deferred", "the second try goes on waiting")
    assert second.reconcile() == "active"


def test_a_job_that_ends_at_once_does_not_fail_its_task(live):
    run = live.start("jobs_are_quick", "quick")
    live.until(lambda: live.state(run) in {"success", "failed"}, "the run ends", 110)
    tasks = live.call("GET", f"{run}/taskInstances")["task_instances"]
    assert [task["state"] for task in tasks] == ["success"] * 12


def test_canceling_a_transfer_leaves_no_job_and_a_failed_run(live):
    run = live.start("lclstream_transfer", "canceled", request(1))
    waiting = live.start("lclstream_transfer", "canceled-in-the-queue", request(2))
    live.deferred_job(run, "streamer")
    jobs = [live.job(run, "buffer_up"), live.job(run, "streamer")]
    assert live.state(waiting) == "queued", "one transfer at a time, in these tests"
    for one in (waiting, run):
        assert live.call("PATCH", one, {"state": "failed"})
    live.until(lambda: live.state(run) in {"failed", "success"}, "the transfer ends", 60)
    assert live.state(run) == "failed"
    # The buffer may have run empty by itself as soon as its producer was gone.
    assert jobs[0].reconcile().is_final
    assert jobs[1].reconcile() == "canceled"
    assert live.state(run, "buffer_down") == "failed"
    live.until(lambda: live.state(waiting) in {"failed", "success"}, "the queued one ends", 60)
    assert live.state(waiting) == "failed", "a transfer that never ran is no success"
    assert live.job(waiting, "buffer_up") is None


def test_a_triggerer_that_goes_away_cancels_nothing(live):
    run = live.start("job_runs_long", "orphaned")
    job = live.deferred_job(run)
    triggerer = live.instance.components["triggerer"]
    triggerer.stop()
    assert job.reconcile() == "active"
    triggerer.start()
    time.sleep(15)  # beyond the threshold after which the trigger is given to the new one
    assert job.reconcile() == "active"
    assert live.state(run, "job") == "deferred"
    # The new triggerer has taken the trigger up: it is the one that sees the job's end.
    job.cancel("by hand")
    live.until(lambda: live.state(run) == "failed", "the end is seen", 60)


def test_a_watcher_that_fails_is_started_again_and_loses_nothing(live, elog_book, publish):
    """Its rules are wrong at first: no offset is committed, and the mended rules are read."""
    log = live.instance.components["triggerer"].log
    run, published = elog_book.start_run(EXPERIMENT)
    publish(published)
    live.until(lambda: "run events cannot be dispatched" in log.read_text(), "the fault is told")
    live.rules_file.write_text(yaml.safe_dump(RULES))
    run_id = f"lclstream__{EXPERIMENT}__r0001__{run['_id']}"
    path = f"/dags/lclstream_transfer/dagRuns/{run_id}"
    live.until(lambda: live.call("GET", path), "the transfer starts", 60)


def test_requests_that_write_at_once_do_not_lock_each_other_out(live):
    """SQLite has one lock; Airflow's API server would wait for it while it holds it itself."""

    def write(number):
        began = time.monotonic()
        body = {"key": f"written at once {number}", "value": "1"}
        assert live.call("POST", "/variables", body)
        return time.monotonic() - began

    with ThreadPoolExecutor(8) as pool:
        longest = max(pool.map(write, range(64)))
    assert longest < 20
