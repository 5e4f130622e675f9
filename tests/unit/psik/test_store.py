"""Making job folders: whole or not at all, once per key, secrets apart."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import stat
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from airflow_provider_lclstream.psik.access.folder import FolderAccess
from airflow_provider_lclstream.psik.backends import open_backend
from airflow_provider_lclstream.psik.backends.base import Backend
from airflow_provider_lclstream.psik.job import Job, JobNotFoundError
from airflow_provider_lclstream.psik.layout import is_jobid
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, JobState, Transition
from airflow_provider_lclstream.psik.state_log import StateLog
from airflow_provider_lclstream.psik.states import TransitionRefusedError
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import BadInputError, ConfigurationError, OutputError

SPEC = JobSpec(name="one", script="echo hi")


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs")


def test_a_new_job_has_upstreams_layout(store: JobStore) -> None:
    job = store.create(SPEC)
    names = {path.name for path in job.folder.iterdir()}
    assert names == {"spec.json", "status.csv", "log", "work", ".psik"}
    assert json.loads((job.folder / "spec.json").read_text())["script"] == "echo hi"
    assert json.loads(job.history()[0].info) == {"backend": {}}
    assert job.state() is JobState.new
    assert job.spec == SPEC
    assert job.work == job.folder / "work"
    assert stat.S_IMODE(job.folder.stat().st_mode) == 0o700


def test_the_secret_lies_apart(store: JobStore) -> None:
    job = store.create(SPEC.model_copy(update={"cb_secret": SecretStr("s3cr3t")}))
    secret = job.folder / ".psik" / "secret"
    assert secret.read_text() == "s3cr3t"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert job.secret() == "s3cr3t"
    others = [p for p in job.folder.rglob("*") if p.is_file() and p != secret]
    assert others
    assert not [p for p in others if b"s3cr3t" in p.read_bytes()]
    assert store.create(SPEC).secret() is None


def test_files_go_into_the_work_folder(store: JobStore) -> None:
    job = store.create(SPEC, files={"config.yaml": "a: 1", "deep/er/b.bin": b"\x00\xff"})
    assert (job.work / "config.yaml").read_text() == "a: 1"
    assert (job.work / "deep" / "er" / "b.bin").read_bytes() == b"\x00\xff"


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../../x", "a/..", ".", "a\0b"])
def test_files_stay_in_the_work_folder(store: JobStore, name: str) -> None:
    with pytest.raises(BadInputError, match="not a path inside"):
        store.create(SPEC, files={name: "x"})
    assert store.jobs() == []


def _create_many(prefix: Path, key: str | None, count: int, results: Any) -> None:
    store = JobStore(prefix)
    results.put([store.create(SPEC, idempotency_key=key).jobid for _ in range(count)])


def _in_processes(prefix: Path, key: str | None, count: int) -> list[str]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    makers = [
        context.Process(target=_create_many, args=(prefix, key, count, results)) for _ in range(4)
    ]
    for maker in makers:
        maker.start()
    ids = [jobid for _ in makers for jobid in results.get(timeout=60)]
    for maker in makers:
        maker.join(30)
    results.close()
    results.join_thread()
    return ids


def test_ids_are_unique_when_four_processes_make_jobs(store: JobStore) -> None:
    ids = _in_processes(store.prefix, None, 25)
    assert len(set(ids)) == 100
    assert all(is_jobid(jobid) for jobid in ids)
    assert {job.jobid for job in store.jobs()} == set(ids)


def test_ids_do_not_rest_on_the_clock(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_lclstream.psik.store.time.time", lambda: 1795206817.829)
    drawn = iter([7, 7, 7, 8])
    monkeypatch.setattr(
        "airflow_provider_lclstream.psik.layout.secrets.randbelow", lambda _: next(drawn)
    )
    # The second job draws the id of the first, twice, and then a free one.
    assert store.create(SPEC).jobid == "1795206817.829000007"
    assert store.create(SPEC).jobid == "1795206817.829000008"


def test_one_key_gives_one_job_in_four_processes(store: JobStore) -> None:
    assert len(set(_in_processes(store.prefix, "dag/run/task/-1", 5))) == 1
    assert len(store.jobs()) == 1
    assert store.create(SPEC, idempotency_key="dag/run/task/0").jobid != store.jobs()[-1].jobid


def test_a_crash_between_the_keys_note_and_the_folder_loses_nothing(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("airflow_provider_lclstream.psik.store._fill", crash)
        with pytest.raises(KeyboardInterrupt):
            store.create(SPEC, idempotency_key="k")
    assert store.jobs() == []
    first = store.create(SPEC, idempotency_key="k")
    assert store.create(SPEC, idempotency_key="k").jobid == first.jobid


def test_a_removed_job_frees_its_key(store: JobStore) -> None:
    first = store.create(SPEC, idempotency_key="k")
    store.remove(first.jobid)
    assert store.create(SPEC, idempotency_key="k").state() is JobState.new
    assert len(store.jobs()) == 1


def test_a_key_that_is_used_again_while_its_job_is_removed_keeps_its_new_job(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, forget, made = store.create(SPEC, idempotency_key="k"), JobStore._forget, list[Job]()

    def use_first(self: JobStore, digest: str | None, jobid: str) -> None:
        made.append(self.create(SPEC, idempotency_key="k"))
        forget(self, digest, jobid)

    monkeypatch.setattr(JobStore, "_forget", use_first)
    store.remove(first.jobid)
    assert made[0].jobid != first.jobid  # what is known of that one, callbacks told too, is its own
    assert store.create(SPEC, idempotency_key="k").jobid == made[0].jobid
    assert len(store.jobs()) == 1


def test_removed_jobs_leave_nothing_behind(store: JobStore) -> None:
    """A service makes and removes jobs for years."""
    for number in range(600):
        store.remove(store.create(SPEC, idempotency_key=f"task {number}").jobid)
    left = list((store.prefix / ".psik" / "keys").iterdir())
    assert {path.suffix for path in left} == {".lock"}
    assert len(left) <= 256
    assert not [path for path in (store.prefix / ".psik").iterdir() if "-" in path.name]


def test_whoever_waits_to_start_a_job_that_is_removed_is_told(store: JobStore) -> None:
    job = store.create(SPEC)
    job.cancel()
    with ThreadPoolExecutor(1) as pool, job.settled():
        starting = pool.submit(store.get(job.jobid).start)
        with pytest.raises(concurrent.futures.TimeoutError):
            starting.result(0.3)  # it waits for the lock
        job.folder.rename(store.prefix / "grave")
    with pytest.raises(BadInputError, match=r"gone|no job"):
        starting.result(10)


def test_a_job_that_is_started_meanwhile_is_not_removed(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = store.create(SPEC)
    job.cancel()
    settled = Job.settled

    def start_first(self: Job) -> AbstractContextManager[Transition]:
        StateLog(job.folder / "status.csv").append(1, JobState.queued)
        return settled(self)

    monkeypatch.setattr(Job, "settled", start_first)
    with pytest.raises(TransitionRefusedError, match="is queued"):
        store.remove(job.jobid)
    assert job.folder.is_dir()


def test_an_unknown_backend_is_told_before_anything_is_written(tmp_path: Path) -> None:
    store = JobStore(tmp_path, {"S3DFslurm": BackendConfig(), "bad": BackendConfig(type="slrm")})
    with pytest.raises(ConfigurationError, match="S3DFslrm") as caught:
        store.create(SPEC.model_copy(update={"backend": "S3DFslrm"}))
    assert "did you mean 'S3DFslurm'" in caught.value.mend
    with pytest.raises(ConfigurationError, match="unknown type 'slrm'"):
        store.create(SPEC.model_copy(update={"backend": "bad"}))
    assert store.jobs() == []


def test_wrong_settings_of_a_backend_are_told(tmp_path: Path) -> None:
    store = JobStore(tmp_path, {"default": BackendConfig(attributes={"slots": "none"})})
    with pytest.raises(ConfigurationError, match="slots"):
        store.create(SPEC)


def test_jobs_are_listed_newest_first_and_strangers_passed_over(store: JobStore) -> None:
    ids = [store.create(SPEC).jobid for _ in range(3)]
    (store.prefix / "notes.txt").write_text("mine")
    (store.prefix / "1.2.3").mkdir()
    assert [job.jobid for job in store.jobs()] == sorted(ids, reverse=True)


@pytest.mark.parametrize("jobid", ["", "..", "1", "../1", "1795/..", "a", ".psik", "1" * 99])
def test_what_is_no_job_is_not_found(store: JobStore, jobid: str) -> None:
    with pytest.raises(JobNotFoundError):
        store.get(jobid)


def test_a_prefix_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        JobStore(tmp_path / "file" / "jobs")


def test_a_failed_creation_leaves_no_orphan(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("airflow_provider_lclstream.psik.store.write_atomically", full)
    with pytest.raises(OutputError, match="No space left"):
        store.create(SPEC)
    assert store.jobs() == []
    assert [p for p in (store.prefix / ".psik").iterdir() if p.name.startswith("making")] == []


def test_logs_are_read_in_pieces(store: JobStore) -> None:
    job = store.create(SPEC)
    (job.folder / "log" / "stdout.1").write_bytes(b"0123456789\xff")
    assert job.log_names() == ["stdout.1"]
    assert job.log("stdout.1") == "0123456789\ufffd"
    assert job.read_log("stdout.1", 3, 4) == b"3456"
    assert job.read_log("stdout.1", -3, None) == b"89\xff"
    assert job.read_log("stdout.1", 99, None) == b""
    for name in ("stdout.2", "../spec.json", "/etc/passwd"):
        with pytest.raises(JobNotFoundError):
            job.log(name)


def test_a_log_that_goes_while_it_is_listed_is_left_out(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = store.create(SPEC)
    for name in ("goes", "stays"):
        (job.folder / "log" / name).write_text("1")
    scandir = os.scandir

    @contextlib.contextmanager
    def remove_after(folder: Path | str) -> Generator[list[os.DirEntry[str]]]:
        with scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        Path(folder, "goes").unlink()
        yield found

    monkeypatch.setattr(os, "scandir", remove_after)
    assert job.log_sizes() == {"stays": 1}


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_a_file_that_goes_between_two_looks_at_it_spoils_no_list(
    store: JobStore, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    job = store.create(SPEC, files={"goes": "1", "stays": "1"})
    stat_of, left = Path.stat, [looks]

    def look(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.name == "goes":
            left[0] -= 1
            if left[0] < 0:
                path.unlink(missing_ok=True)
        return stat_of(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", look)
    listed = {facts.path for facts in FolderAccess(store).files(job.jobid)}
    assert listed - {"goes"} == {"stays"}


def test_a_job_that_was_never_submitted_is_canceled_and_started(store: JobStore) -> None:
    job = store.create(SPEC)
    assert job.cancel("not wanted") is JobState.canceled
    assert [(row.jobndx, row.state, row.info) for row in job.history()[1:]] == [
        (0, JobState.canceled, "not wanted")
    ]
    assert job.cancel() is JobState.canceled
    assert len(job.history()) == 2


def test_threads_that_come_together_get_the_same_backend(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_open = threading.Barrier(2, timeout=20)

    def opening(name: str, config: BackendConfig, prefix: Path) -> Backend:
        both_open.wait()
        return open_backend(name, config, prefix)

    monkeypatch.setattr("airflow_provider_lclstream.psik.store.open_backend", opening)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(store.backend, ["default", "default"])
    assert one is other
