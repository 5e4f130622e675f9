"""The DAG of transfers (`dag.test`): real buffer, real streamer, real consumers."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest

from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.transfer.launch_plan import ENDPOINTS_FILE

DAG_ID = "lclstream_transfer"
EVENTS = 40


def request(**changes):
    """A transfer of made-up events, 4 to a message."""
    streamer = {
        "source_identifier": "made up",
        "skip_incomplete_events": False,
        "event_source": {"type": "InternalEventSource", "number_of_events_to_generate": EVENTS},
        "data_sources": {"event": {"type": "EventId"}},
        "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": 4},
        "data_serializer": {"type": "Hdf5Serializer", "fields": {"event": "/event"}},
    } | changes.pop("streamer", {})
    return {
        "experiment": "mfxx00126",
        "run_number": 17,
        "streamer": streamer,
        "buffer_backend": "local",
        "streamer_backend": "local",
        "start_timeout_seconds": 60,
        "drain_timeout_seconds": 30,
    } | changes


@pytest.fixture
def kept_in():
    """Where this test's transfers have their jobs: see the fixture `place`."""
    return "folder"


@pytest.fixture
def jobs_of_this_test(kept_in, request, monkeypatch):
    """The jobs made since the test began, by the first word of their names."""
    place = request.getfixturevalue(f"{kept_in}_place")
    if place.url:
        document = {"conn_type": "psik", "host": place.url}
        monkeypatch.setenv("AIRFLOW_CONN_PSIK_DEFAULT", json.dumps(document))
    store = JobStore(place.prefix)
    before = {job.jobid for job in store.jobs()}

    def find():
        return {
            str(job.spec.name).split()[0]: job for job in store.jobs() if job.jobid not in before
        }

    yield find
    for job in find().values():
        job.cancel()


@pytest.fixture
def consumers(jobs_of_this_test, processes, tmp_path):
    """``with consumers(2) as pulls``: start consumers as soon as the buffer is up."""

    @contextmanager
    def start(count):
        pulls, stop = [], threading.Event()

        def watch():
            while not stop.wait(0.05):
                buffer = jobs_of_this_test().get("buffer")
                if buffer is None or not (buffer.work / ENDPOINTS_FILE).is_file():
                    continue
                url = json.loads((buffer.work / ENDPOINTS_FILE).read_text())["outlets"]["nng"]
                for number in range(count):
                    folder = tmp_path / f"consumer{number}"
                    folder.mkdir()
                    pulls.append(
                        processes.start(["lclstream", "pull", url, "-o", folder, "--json"])
                    )
                return

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield pulls
        finally:
            stop.set()
            thread.join()

    return start


def pulled(pulls):
    """The summaries of consumers that have ended by themselves."""
    assert [pull.wait(20) for pull in pulls] == [0] * len(pulls)
    return [json.loads(pull.stdout.splitlines()[-1]) for pull in pulls]


@pytest.mark.parametrize(("ranks", "kept_in"), [(1, "folder"), (2, "folder"), (2, "service")])
def test_everything_that_was_produced_is_delivered(run_dag, consumers, jobs_of_this_test, ranks):
    with consumers(2) as pulls:
        end = run_dag(DAG_ID, request(ranks=ranks))
    assert (end.state, set(end.states.values())) == ("success", {"success"})
    settlement = end.xcoms["settle", "return_value"]
    assert settlement["state"] == "completed"
    assert settlement["events_produced"] == EVENTS
    assert settlement["messages_lost"] == 0
    assert settlement["ranks_reported"] == ranks
    assert settlement["messages_delivered"] == sum(told["messages"] for told in pulled(pulls))
    assert end.xcoms["buffer_up", "return_value"]["outlets"]["nng"].startswith("tcp://")
    states = {name: str(job.reconcile()) for name, job in jobs_of_this_test().items()}
    assert states == {"buffer": "completed", "streamer": "completed"}


def test_the_buffer_is_up_without_leaving_the_worker(run_dag, consumers):
    with consumers(1):
        end = run_dag(DAG_ID, request())
    deferred = [line for line in end.log.splitlines() if "Pausing task as DEFERRED" in line]
    assert deferred
    assert not [line for line in deferred if "buffer_up" in line]


def test_lost_messages_fail_the_run_with_the_numbers(run_dag, jobs_of_this_test):
    begun = time.monotonic()
    end = run_dag(DAG_ID, request(drain_timeout_seconds=2))
    assert end.state == "failed"
    assert end.states == {
        "buffer_up": "success", "streamer": "success", "settle": "failed", "buffer_down": "failed"
    }  # fmt: skip
    settlement = end.xcoms["settle", "return_value"]
    assert (settlement["state"], settlement["messages_lost"]) == ("failed", EVENTS // 4)
    assert "40 events in 10 messages produced, 0 delivered, 10 lost" in end.log
    assert all(job.reconcile().is_final for job in jobs_of_this_test().values())
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("kept_in", ["folder", "service"])
def test_a_failed_streamer_is_settled_and_fails_the_run(run_dag, consumers, jobs_of_this_test):
    broken = {
        "source_identifier": "/no/such/file.h5",
        "event_source": {"type": "Hdf5EventSource"},
        "data_sources": {"event": {"type": "EventId"}},
    }
    with consumers(1):
        end = run_dag(DAG_ID, request(streamer=broken))
    assert end.state == "failed"
    assert end.states == {
        "buffer_up": "success", "streamer": "failed", "settle": "failed", "buffer_down": "failed"
    }  # fmt: skip
    settlement = end.xcoms["settle", "return_value"]
    assert settlement["state"] == "failed"
    assert any("the streamer's job is failed" in text for text in settlement["problems"])
    assert "/no/such/file.h5" in end.log, "the end of the job's log is in the task's log"
    assert all(job.reconcile().is_final for job in jobs_of_this_test().values())


def test_a_buffer_that_dies_ends_the_transfer(run_dag, jobs_of_this_test, wait_for):
    slow = {
        "event_source": {
            "type": "InternalEventSource",
            "number_of_events_to_generate": 10_000,
            "events_per_second": 20,
        }
    }

    def kill():
        streamer = wait_for(lambda: jobs_of_this_test().get("streamer"), what="the streamer")
        wait_for(lambda: streamer.reconcile() == "active", what="its start")
        buffer = jobs_of_this_test()["buffer"]
        os.kill(json.loads((buffer.work / ENDPOINTS_FILE).read_text())["pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    end = run_dag(DAG_ID, request(streamer=slow))
    killer.join()
    assert end.state == "failed"
    assert end.states["streamer"] == "failed"
    problems = end.xcoms["settle", "return_value"]["problems"]
    assert any("the buffer left no ledger" in text for text in problems)
    assert all(job.reconcile().is_final for job in jobs_of_this_test().values())


def test_the_example_in_the_documentation_of_the_dag_is_a_request(airflow_db, repository):
    from airflow.dag_processing.dagbag import DagBag

    from airflow_provider_lclstream.transfer.models import TransferRequest

    text = DagBag(dag_folder=str(repository / "dags")).dags[DAG_ID].doc_md.split("```")[1]
    TransferRequest.model_validate(request() | {"streamer": json.loads(text)})


@pytest.mark.parametrize("kept_in", ["folder", "service"])
def test_a_mistake_is_told_before_anything_runs(run_dag, jobs_of_this_test):
    end = run_dag(DAG_ID, request(streamer={"event_source": {"type": "InternalEventSorce"}}))
    assert (end.state, end.states["buffer_up"]) == ("failed", "failed")
    assert "did you mean 'InternalEventSource'?" in end.log
    assert jobs_of_this_test() == {}
    unknown = run_dag(DAG_ID, request(streamer_backend="locale"))
    assert (unknown.state, unknown.states["buffer_up"]) == ("failed", "failed")
    assert "did you mean 'local'?" in unknown.log
    assert jobs_of_this_test() == {}
