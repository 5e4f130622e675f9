"""What is particular to facilities behind HTTP: trouble on the way, tokens, lost records."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from iri_double import IriDouble
from sfapi_double import SfapiDouble

from airflow_provider_lclstream.psik.backends import facility, open_backend
from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.layout import write_json
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, JobState, ResourceSpec
from airflow_provider_lclstream.psik.reconciler import reconcile
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import BadInputError, ConfigurationError, PermissionDeniedError

Reach = Callable[..., None]
LONG = 60.0


@dataclasses.dataclass
class Site:
    """A double, and how a store reaches it."""

    kind: str
    double: IriDouble | SfapiDouble
    attributes: dict[str, str]
    folder: Path

    def store(self, **more: str) -> JobStore:
        attributes = {"grace_seconds": "1", **self.attributes, **more}
        return JobStore(
            self.folder, {"default": BackendConfig(type=self.kind, attributes=attributes)}
        )

    @property
    def secret(self) -> Path:
        return self.folder.parent / "secret"

    def submissions(self) -> int:
        return len(self.double.jobs.jobs)


@pytest.fixture(params=["iri", "sfapi"])
def site(
    request: pytest.FixtureRequest, reach_double: Callable[..., dict[str, str]], tmp_path: Path
) -> Site:
    """Each kind of facility in turn."""
    double = request.getfixturevalue(request.param)
    return Site(request.param, double, reach_double(double), tmp_path / "jobs")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble passes quickly here."""
    monkeypatch.setattr(facility, "PAUSES_SECONDS", (0.02, 0.05))


@pytest.fixture
def end(reach: Reach) -> Callable[[Job], Job]:
    """``end(job)``: the same job once it has ended."""

    def end(job: Job) -> Job:
        reach(job, timeout_seconds=LONG)
        return job

    return end


def _submitted(store: JobStore, script: str = "true", **spec: Any) -> Job:
    job = store.create(JobSpec(script=script, **spec))
    job.submit()
    return job


@pytest.mark.parametrize("fault", [503, 429, 502])
def test_passing_trouble_at_submission_ends_with_one_run(
    site: Site, end: Callable[[Job], Job], fault: int
) -> None:
    store = site.store()
    site.double.faults[:] = [fault]
    job = _submitted(store, "echo run >> count")
    end(job)
    assert job.state() is JobState.completed
    assert (job.work / "count").read_text() == "run\n"
    assert site.submissions() == 1


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_answer_ends_with_one_run(site: Site, end: Callable[[Job], Job], lost: int) -> None:
    store = site.store()
    # Warmed up, so that the token is not what gets lost.
    end(_submitted(store))
    before = site.submissions()
    site.double.faults[:] = ["pass"] * lost + ["hang up"]
    job = _submitted(store, "sleep 1; echo run >> count")
    end(job)
    assert job.state() is JobState.completed
    assert (job.work / "count").read_text() == "run\n"
    assert site.submissions() == before + 1


def test_a_token_that_is_refused_is_renewed_once(site: Site, end: Callable[[Job], Job]) -> None:
    store = site.store()
    end(_submitted(store))
    if isinstance(site.double, SfapiDouble):
        site.double.tokens.clear()
    else:
        site.double.token = "renewed-token-of-this-test"
        site.secret.write_text(site.double.token)
    assert end(_submitted(store)).state() is JobState.completed


def test_who_is_not_let_in_is_told_and_secrets_stay_secret(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = site.secret.read_text()
    if isinstance(site.double, SfapiDouble):
        site.double.client_id = "someone-else0"
    else:
        site.double.token = "another"
    store = site.store()
    job = store.create(JobSpec(script="true"))
    with pytest.raises(PermissionDeniedError) as refused:
        job.submit()
    assert job.state() is JobState.failed
    assert "401" in job.last().info
    told = f"{refused.value} {caplog.text} {job.log('console')}"
    key = [line for line in secret.splitlines() if len(line) > 20 and "PRIVATE" not in line]
    assert not [line for line in key if line in told]


def test_secrets_open_to_others_are_refused(site: Site) -> None:
    site.secret.chmod(0o640)
    job = site.store().create(JobSpec(script="true"))
    with pytest.raises(ConfigurationError, match="other users can read"):
        job.submit()
    assert job.state() is JobState.failed


def test_tokens_do_not_travel_in_the_open(site: Site) -> None:
    attributes = {**site.attributes, "url": "http://example.org"}
    with pytest.raises(ConfigurationError, match="not a URL"):
        open_backend("b", BackendConfig(type=site.kind, attributes=attributes), site.folder)


def test_time_limit(site: Site, end: Callable[[Job], Job]) -> None:
    # Both schedulers count in minutes; this one's last 3 s.
    site.double.jobs.minute_seconds = 3
    job = end(_submitted(site.store(), "sleep 300", resources=ResourceSpec(duration=2 / 60)))
    assert job.state() is JobState.failed
    assert "time limit" in job.last().info


def test_a_job_that_the_facility_forgot(
    site: Site, end: Callable[[Job], Job], reach: Reach
) -> None:
    patient, hasty = site.store(), site.store(patience_seconds="0")
    job = _submitted(patient, "sleep 300")
    reach(job, "active", timeout_seconds=LONG)
    native = next(iter(site.double.jobs.jobs))
    site.double.jobs.forget(native)
    assert job.reconcile() is JobState.active
    job = end(hasty.get(job.jobid))
    assert job.state() is JobState.failed
    assert f"no longer knows job {native}" in job.last().info


def test_odd_paths_and_much_input_arrive(site: Site, end: Callable[[Job], Job]) -> None:
    # Upstream forgot to quote, put the files on a command line, and looked for them elsewhere.
    site.folder = site.folder / "a b; 'c' $(d)"
    site.folder.parent.mkdir()
    job = site.store().create(JobSpec(script="wc -c < big > size"), files={"big": "x" * 3 * 2**20})
    job.submit()
    end(job)
    assert job.state() is JobState.completed
    assert (job.work / "size").read_text().strip() == str(3 * 2**20)


@pytest.mark.parametrize("fault", [500, 502, "hang up"])
def test_a_question_that_fails_is_told_and_asked_again(
    site: Site, end: Callable[[Job], Job], fault: int | str
) -> None:
    job = _submitted(site.store(), "sleep 1")
    tries = 1 + len(facility.PAUSES_SECONDS)
    site.double.faults[:] = [fault] * tries
    assert len(reconcile([job]).problems) == 1
    assert job.pending_attempt() is not None
    site.double.faults.clear()
    assert end(job).state() is JobState.completed


def test_attributes_are_allowed_or_refused(site: Site) -> None:
    with pytest.raises(BadInputError, match="not allowed"):
        site.store().create(JobSpec(script="true", attributes={"uid": "0"}))


def test_jobs_are_asked_for_in_bulk(site: Site) -> None:
    store = site.store()
    jobs = [_submitted(store, "sleep 300") for _ in range(5)]
    site.double.asked.clear()
    assert reconcile(jobs).problems == []
    assert len(site.double.asked) <= 2
    for job in jobs:
        job.cancel()


def test_iri_without_a_store_of_keys(
    iri: IriDouble, reach_double: Any, tmp_path: Path, end: Callable[[Job], Job]
) -> None:
    iri.has_key_store = False
    store = Site("iri", iri, reach_double(iri), tmp_path / "jobs").store()
    assert end(_submitted(store)).state() is JobState.completed
    assert end(_submitted(store)).state() is JobState.completed
    assert iri.asked.count("POST /api/v1/compute/job/milano") == 3


def test_iri_without_keys_finds_what_an_answer_was_lost_of(
    iri: IriDouble, reach_double: Any, tmp_path: Path, end: Callable[[Job], Job]
) -> None:
    iri.has_key_store = False
    store = Site("iri", iri, reach_double(iri), tmp_path / "jobs").store()
    end(_submitted(store))
    iri.faults[:] = ["hang up"]
    job = _submitted(store, "sleep 1; echo run >> count")
    assert "cannot be reached" in job.remark()
    assert end(job).state() is JobState.completed
    assert (job.work / "count").read_text() == "run\n"
    assert len(iri.jobs.jobs) == 2


def test_iri_specification(
    iri: IriDouble, reach_double: Any, tmp_path: Path, end: Callable[[Job], Job]
) -> None:
    site = Site("iri", iri, reach_double(iri), tmp_path / "jobs")
    store = site.store(**{"allowed": "qos", "custom.constraint": "gpu"})
    job = _submitted(
        store,
        attributes={"qos": "debug"},
        resources=ResourceSpec(duration=1.5, node_count=2, memory=2**30, gpu_cores_per_process=1),
    )
    end(job)
    (spec,) = iri.specs.values()
    assert spec["attributes"] == {
        "duration": 120,
        "custom_attributes": {"qos": "debug", "constraint": "gpu"},
    }
    assert spec["resources"] == {
        "node_count": 2, "cpu_cores_per_process": 1, "gpu_cores_per_process": 1,
        "exclusive_node_use": False, "memory": 2**30,
    }  # fmt: skip
    assert job.jobid in spec["name"]


def test_sfapi_refusals_are_told(sfapi: SfapiDouble, reach_double: Any, tmp_path: Path) -> None:
    attributes = reach_double(sfapi)
    del attributes["--constraint"]
    job = Site("sfapi", sfapi, attributes, tmp_path / "jobs").store().create(JobSpec(script="true"))
    with pytest.raises(BadInputError, match="any supported policy"):
        job.submit()
    assert job.state() is JobState.failed
    assert "supported policy" in job.last().info


def test_sfapi_task_that_takes_long_is_waited_for_later(
    sfapi: SfapiDouble, reach_double: Any, tmp_path: Path, end: Callable[[Job], Job]
) -> None:
    site = Site("sfapi", sfapi, reach_double(sfapi), tmp_path / "jobs")
    sfapi.task_seconds = 2
    job = _submitted(site.store(task_seconds="0.05"), "echo run >> count")
    assert job.state() is JobState.queued
    assert "has not submitted the job yet" in job.remark()
    end(site.store().get(job.jobid))
    assert (job.work / "count").read_text() == "run\n"
    assert sfapi.asked.count("POST /api/v1.2/compute/jobs/perlmutter") == 1


def test_what_was_handed_over_twice_runs_once(
    sfapi: SfapiDouble, reach_double: Any, tmp_path: Path, end: Callable[[Job], Job], reach: Reach
) -> None:
    store = Site("sfapi", sfapi, reach_double(sfapi), tmp_path / "jobs").store()
    job = _submitted(store, "echo run >> count; sleep 3")
    reach(job, "active", timeout_seconds=LONG)
    attempt = job.pending_attempt()
    assert attempt is not None
    # As if the first answer had been lost and accounting had not known the job yet.
    second = store.backend("default").submit(attempt)
    write_json(attempt.job.native(1), {"native_id": second})
    end(job)
    assert sfapi.jobs.jobs[second].state == "FAILED"
    assert job.state() is JobState.completed
    assert (job.work / "count").read_text() == "run\n"
