"""The same verbs do the same to jobs in a folder and to jobs of a service."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from airflow_provider_lclstream.psik.access.base import JobAccess
from airflow_provider_lclstream.psik.access.folder import FolderAccess
from airflow_provider_lclstream.psik.access.folder_async import InThread
from airflow_provider_lclstream.psik.access.places import service_place
from airflow_provider_lclstream.psik.access.service import ServiceAccess, open_service
from airflow_provider_lclstream.psik.access.service_async import open_place_async
from airflow_provider_lclstream.psik.backends.base import Attempt, Observation
from airflow_provider_lclstream.psik.facts import JobLine
from airflow_provider_lclstream.psik.job import JobNotFoundError
from airflow_provider_lclstream.psik.models import JobSpec, JobState
from airflow_provider_lclstream.psik.states import TransitionRefusedError
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import BadInputError, LCLStreamError, TemporaryError, UnavailableError


@pytest.fixture
def service(
    store: JobStore, tmp_path: Any, processes: Any, wait_for: Callable[..., Any]
) -> Iterator[ServiceAccess]:
    """A service over the store, which waits for shorter than it is asked to."""
    config = tmp_path / "psik.json"
    backends = {"default": {"attributes": {"grace_seconds": "2"}}}
    document = {"prefix": str(store.prefix), "backends": backends, "longest_wait_seconds": 0.2}
    config.write_text(json.dumps(document))
    served = processes.start(
        ["lclstream", "psik", "serve", "http://127.0.0.1:0", "--config", config,
         "--loopback-caller", "me"]
    )  # fmt: skip
    wait_for(lambda: "listening" in served.stdout or served.process.poll() is not None)
    assert served.process.poll() is None, served.stderr
    with open_service(json.loads(served.stdout.splitlines()[0])["listening"]) as access:
        yield access


@pytest.fixture(params=["folder", "service"])
def access(request: pytest.FixtureRequest, store: JobStore) -> JobAccess:
    if request.param == "folder":
        return FolderAccess(store)
    return request.getfixturevalue("service")


def _end(access: JobAccess, jobid: str) -> JobState:
    deadline, facts = time.monotonic() + 30, access.look(jobid)
    while not facts.state.is_final:
        assert time.monotonic() < deadline
        facts = access.look(jobid, after=facts.rows, wait_seconds=5)
    return facts.state


def test_a_job_with_files_from_birth_to_removal(access: JobAccess) -> None:
    spec = JobSpec(name="one", script="cat 'in/a%b c'; echo out > out; echo e >&2; exit 3")
    made = access.create(spec, files={"in/a%b c": "hällo\n", "x": ""}, idempotency_key="kéy")
    assert made.state in {JobState.queued, JobState.active}
    again = access.create(spec, files={"in/a%b c": "other"}, idempotency_key="kéy")
    assert again.jobid == made.jobid
    assert _end(access, made.jobid) is JobState.failed
    facts = access.look(made.jobid)
    assert [row.state for row in facts.history] == ["new", "queued", "active", "failed"]
    assert (facts.rows, facts.info, facts.has_file) == (4, "exit code 3", None)
    assert access.look(made.jobid, after=3).history == facts.history[3:]
    assert (facts.result or {})["exit_code"] == 3
    assert access.spec(made.jobid).script == spec.script
    files = access.files(made.jobid)
    assert [(each.path, each.size) for each in files] == [("in/a%b c", 7), ("out", 4), ("x", 0)]
    assert abs(files[0].mtime - time.time()) < 60
    assert b"".join(access.read_file(made.jobid, "in/a%b c")).decode() == "hällo\n"
    assert list(access.read_file(made.jobid, "x")) == []
    sizes = access.log_sizes(made.jobid)
    assert (sizes["stdout.1"], sizes["stderr.1"]) == (7, 2)
    assert access.read_log(made.jobid, "stdout.1", 0, 2**20).decode() == "hällo\n"
    assert access.read_log(made.jobid, "stdout.1", -3, 2) == b"lo"
    assert access.read_log(made.jobid, "stdout.1", -(2**40), 1) == b"h"
    assert access.read_log(made.jobid, "stdout.1", 100, 10) == b""
    (line,) = access.lines()
    assert (line.jobid, line.name, line.state) == (made.jobid, "one", JobState.failed)
    assert access.lines([JobState.active, JobState.completed]) == []
    assert access.start(made.jobid).jobndx == 2
    assert _end(access, made.jobid) is JobState.failed
    access.remove(made.jobid)
    assert access.lines() == []
    with pytest.raises(JobNotFoundError):
        access.look(made.jobid)


def test_a_file_is_written_while_it_runs(access: JobAccess) -> None:
    spec = JobSpec(script="while [ ! -f deep/go ]; do sleep 0.05; done; cat deep/go")
    jobid = access.create(spec).jobid
    access.write_file(jobid, "deep/go", b"gone\n")
    assert _end(access, jobid) is JobState.completed
    assert access.read_log(jobid, "stdout.1", 0, 100) == b"gone\n"
    for name in ("../go", "/tmp/go", ""):
        with pytest.raises(BadInputError):
            access.write_file(jobid, name, b"")


def test_it_is_canceled_with_its_reason_and_stays_so(access: JobAccess) -> None:
    made = access.create(JobSpec(script="sleep 60"), submit=False)
    assert made.state is JobState.new
    assert access.start(made.jobid).state in {JobState.queued, JobState.active}
    with pytest.raises(TransitionRefusedError):
        access.start(made.jobid)
    with pytest.raises(TransitionRefusedError, match=r"queued|active"):
        access.remove(made.jobid)
    access.cancel(made.jobid, "the run was stopped")
    assert _end(access, made.jobid) is JobState.canceled
    assert access.look(made.jobid).info.endswith("the run was stopped")
    assert access.cancel(made.jobid, "again").info.endswith("the run was stopped")
    other = access.create(JobSpec(script="true"), submit=False)
    assert access.cancel(other.jobid).info in {"canceled", "canceled by me"}


def test_waiting_ends_with_news_a_file_or_the_time(access: JobAccess) -> None:
    script = "sleep 1; mkdir d; echo 1 > d/ready; sleep 60"
    made = access.create(JobSpec(script=script), submit=False)
    began = time.monotonic()
    assert access.look(made.jobid, after=1, wait_seconds=1.2).rows == 1
    assert 1.1 < time.monotonic() - began < 4
    access.start(made.jobid)
    facts = access.look(made.jobid, after=2, wait_seconds=20)
    assert facts.state is JobState.active
    facts = access.look(made.jobid, after=3, wait_seconds=20, file="d/ready")
    assert (facts.has_file, facts.rows) == (True, 3)
    assert access.look(made.jobid, file="d").has_file is False
    access.cancel(made.jobid)
    assert _end(access, made.jobid) is JobState.canceled


@pytest.mark.parametrize("key", [None, "the only one"])
def test_a_job_whose_files_are_refused_is_not_left_behind(
    access: JobAccess, key: str | None
) -> None:
    spec = JobSpec(script="cat given")
    with pytest.raises(BadInputError, match="is not a path inside"):
        access.create(spec, idempotency_key=key, files={"given": "1", "../go": "2"})
    assert access.lines() == []
    made = access.create(spec, idempotency_key=key, files={"given": "1"})
    assert _end(access, made.jobid) is JobState.completed
    assert [line.jobid for line in access.lines()] == [made.jobid]


def test_a_list_says_as_much_of_a_job_as_the_job_itself(access: JobAccess, store: JobStore) -> None:
    made = access.create(JobSpec(script="sleep 60", name="steady"))
    facts = access.look(made.jobid, after=2, wait_seconds=20)
    attempt = store.get(made.jobid).pending_attempt()
    assert attempt is not None
    for remark in ("stopped, keeping its cores", "suspended"):
        store.get(made.jobid).apply(attempt, Observation(JobState.active, remark))
        (line,) = access.lines()
        assert line == JobLine(**access.look(made.jobid).model_dump())
        assert (line.state, line.info, line.remark) == (JobState.active, facts.info, remark)
    access.cancel(made.jobid)
    _end(access, made.jobid)
    (line,) = access.lines()
    assert (line.state, line.remark) == (JobState.canceled, "")


def test_a_backend_is_asked_about_many_jobs_at_once_and_not_often(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, asked = FolderAccess(store), list[int]()
    made = [access.create(JobSpec(script="sleep 60")) for _ in range(3)]
    backend = store.backend("default")
    observe = backend.observe

    def counting(attempts: Sequence[Attempt]) -> Mapping[str, Observation]:
        asked.append(len(attempts))
        return observe(attempts)

    monkeypatch.setattr(backend, "observe", counting)
    assert [facts.jobid for facts in access.look_all(f.jobid for f in made)] == [
        facts.jobid for facts in made
    ]
    assert asked == [3]
    access.look(made[0].jobid, after=9, wait_seconds=1)
    assert asked == [3, 1]
    looks = InThread(access, 0.1)
    asyncio.run(looks.look(made[0].jobid, after=9, wait_seconds=1))
    asyncio.run(looks.look(made[0].jobid, after=9, wait_seconds=0.1))
    assert asked == [3, 1, 1]


@pytest.mark.parametrize("name", ["nothing", "../spec.json", "/etc/hostname", "d", "link", ""])
def test_files_and_logs_that_are_not_the_jobs(access: JobAccess, name: str) -> None:
    made = access.create(JobSpec(script="mkdir d; ln -s /etc/hostname link; cp -P link $base/log/"))
    _end(access, made.jobid)
    with pytest.raises(BadInputError):
        list(access.read_file(made.jobid, name))
    with pytest.raises(JobNotFoundError):
        access.read_log(made.jobid, name, 0, 10)


def test_what_can_never_run_is_refused_beforehand(access: JobAccess) -> None:
    access.check(JobSpec(script="true"))
    with pytest.raises(LCLStreamError, match="no backend is called") as caught:
        access.check(JobSpec(script="true", backend="other"))
    assert not caught.value.transient
    assert access.lines() == []
    (backend,) = access.backends()
    assert (backend.name, backend.type, backend.problem) == ("default", "local", None)


@pytest.mark.parametrize("kind", ["folder", "service"])
def test_an_event_loop_is_not_blocked(kind: str, store: JobStore, service: ServiceAccess) -> None:
    made = service.create(JobSpec(script="sleep 1; echo done; sleep 60"))

    async def wait() -> tuple[Any, bytes, int]:
        asked = (
            InThread(FolderAccess(store)) if kind == "folder"
            else open_place_async(service_place(service.where))
        )  # fmt: skip
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0.05)
                beats += 1

        heart = asyncio.create_task(beat())
        facts = await asked.look(made.jobid, after=2, wait_seconds=20)
        await asked.look(made.jobid, after=3, wait_seconds=2)
        log = await asked.read_log(made.jobid, "stdout.1", -5, 4)
        assert await asked.log_sizes(made.jobid) == service.log_sizes(made.jobid)
        await asked.cancel(made.jobid, "enough")
        while not facts.state.is_final:
            facts = await asked.look(made.jobid, after=facts.rows, wait_seconds=20)
        heart.cancel()
        await asked.aclose()
        return facts, log, beats

    facts, log, beats = asyncio.run(wait())
    assert facts.state is JobState.canceled
    assert log == b"done"
    assert beats >= 20


class _Flaky(http.server.BaseHTTPRequestHandler):
    """Answers what its server's list says, one after the other; then an empty list of jobs."""

    def _answer(self) -> None:
        self.server.seen.append(self.command)  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status = self.server.plan.pop(0) if self.server.plan else 200  # type: ignore[attr-defined]
        body = b'{"jobs": [], "next": null}'
        if status == 0:  # an answer that is cut
            self.send_response(200)
            self.send_header("content-length", "100")
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _answer

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def flaky() -> Iterator[Any]:
    """``server.plan`` and ``server.seen``: a service in trouble."""
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Flaky)
    server.plan, server.seen = [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_what_may_pass_is_tried_again_a_few_times(flaky: Any) -> None:
    with open_service(f"http://127.0.0.1:{flaky.server_port}") as access:
        flaky.plan[:] = [503, 0]
        assert access.lines() == []
        assert flaky.seen == ["GET"] * 3
        flaky.plan[:], flaky.seen[:] = [503] * 9, []
        with pytest.raises(UnavailableError, match="503"):
            access.lines()
        assert flaky.seen == ["GET"] * 3
        flaky.plan[:], flaky.seen[:] = [503], []
        with pytest.raises(UnavailableError):
            access.start("1795207134.516")
        assert flaky.seen == ["POST"], "what asking twice would do twice is asked once"
        flaky.plan[:], flaky.seen[:] = [400], []
        with pytest.raises(BadInputError):
            access.lines()
        assert flaky.seen == ["GET"]


def test_a_file_that_is_cut_is_no_file(flaky: Any) -> None:
    with open_service(f"http://127.0.0.1:{flaky.server_port}") as access:
        flaky.plan[:] = [0]
        with pytest.raises(LCLStreamError) as caught:
            list(access.results("1795207134.516"))
        assert caught.value.transient


def test_a_service_that_went_away_is_told() -> None:
    with open_service("http://127.0.0.1:1") as access:
        with pytest.raises(LCLStreamError) as caught:
            access.backends()
        assert caught.value.transient
        assert not isinstance(caught.value, TemporaryError)
