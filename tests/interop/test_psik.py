"""Against upstream's psik 3.1.1 from PyPI in its own virtual environment."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.models import JobSpec, JobState
from airflow_provider_lclstream.psik.store import JobStore

pytestmark = pytest.mark.interop
VERSION = "3.1.1"


@pytest.fixture(scope="session")
def psik(repository: Path, require: Any) -> Path:
    """Upstream's program; installed on first use."""
    folder = repository / ".cache" / f"psik-{VERSION}"
    if not (folder / "bin" / "psik").exists():
        uv = str(repository / "tools" / "uv")
        for words in (
            [uv, "venv", "--quiet", "--allow-existing", str(folder)],
            [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"),
             f"psik=={VERSION}"],
        ):  # fmt: skip
            done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
            require(done.returncode == 0, f"psik {VERSION} cannot be installed: "
                    f"{done.stderr[-300:]}; connect to PyPI or its mirror")  # fmt: skip
    return folder / "bin" / "psik"


@pytest.fixture
def call(psik: Path, processes: Any, tmp_path: Path) -> Any:
    """Run upstream's psik with a configuration of its own."""

    def call(config: dict[str, Any], *words: str) -> str:
        (tmp_path / "upstream.json").write_text(json.dumps(config))
        Path(config["prefix"]).mkdir(exist_ok=True)
        done = processes.run(
            [psik, *words, "--config", tmp_path / "upstream.json"],
            environment={"VIRTUAL_ENV": "", "PYTHONPATH": ""},
        )
        assert done.process.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_upstream_reads_our_folders(call: Any, tmp_path: Path, wait_for: Any) -> None:
    store = JobStore(tmp_path / "jobs")
    ended = store.create(JobSpec.model_validate(
        {"name": "of ours", "script": "exit 3", "resources": {"duration": "90s", "memory": "1 GiB"},
         "cb_secret": "s3cr3t"}
    ))  # fmt: skip
    ended.submit()
    wait_for(lambda: ended.reconcile().is_final)
    fresh = store.create(JobSpec(name="fresh", script="true"))
    config = {"prefix": str(store.prefix)}
    rows = {line.split()[0]: line.split()[1:] for line in call(config, "ls").splitlines()[1:]}
    assert rows[ended.jobid][:2] == ["failed", "1"]
    assert rows[ended.jobid][-2:] == ["of", "ours"]
    assert rows[fresh.jobid][0] == "new"
    status = call(config, "status", ended.jobid)
    assert [line.split()[2] for line in status.split("info\n")[1].splitlines()] == [
        "new", "queued", "active", "failed",
    ]  # fmt: skip


@pytest.fixture
def remote(processes: Any, tmp_path: Path, wait_for: Any) -> Any:
    """Our service, and upstream's configuration with a backend that sends jobs there."""
    served = tmp_path / "served"
    (tmp_path / "ours.json").write_text(json.dumps({"prefix": str(served)}))
    running = processes.start(
        ["lclstream", "psik", "serve", "http://127.0.0.1:0", "--config", tmp_path / "ours.json",
         "--loopback-caller", "upstream"]
    )  # fmt: skip
    wait_for(lambda: "listening" in running.stdout or running.process.poll() is not None)
    url = json.loads(running.stdout.splitlines()[0])["listening"]
    attributes = {"remote_url": url, "remote_backend": "default"}
    config = {
        "prefix": str(tmp_path / "theirs"),
        "backends": {"default": {"type": "psik", "attributes": attributes}},
    }
    yield config, JobStore(served)
    for job in JobStore(served).jobs():
        if job.pending_attempt() is not None:
            job.cancel()
            wait_for(lambda job=job: job.reconcile().is_final)


def _spec(tmp_path: Path, script: str) -> str:
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"name": "rem", "script": script}))
    return str(path)


def _states(text: str) -> list[str]:
    rows = text.split("info\n")[-1].splitlines()
    return [line.split()[2] for line in rows if len(line.split()) >= 3]


def _poll_until(call: Any, config: Any, jobid: str, state: str) -> str:
    deadline = time.monotonic() + 40
    while True:
        text = call(config, "poll", jobid)
        if state in _states(text):
            return text
        assert time.monotonic() < deadline, text
        time.sleep(0.2)


def test_upstreams_remote_backend_runs_a_job_here(remote: Any, call: Any, tmp_path: Path) -> None:
    config, store = remote
    said = call(config, "run", _spec(tmp_path, "echo hello from $base; exit 4"))
    jobid = said.split()[1]
    text = _poll_until(call, config, jobid, "failed")
    assert "exit code 4" in text
    [ours] = store.jobs()
    assert ours.spec.name == "rem"
    log = next((tmp_path / "theirs" / jobid / "log").glob("stdout*"))
    assert log.read_text() == f"hello from {ours.folder}\n"


def test_upstreams_files_arrive_where_they_belong(remote: Any, call: Any, tmp_path: Path) -> None:
    config, store = remote
    script = "cat in.txt d/n.txt"
    made = call(config, "run", _spec(tmp_path, script), "--no-submit").split()[1]
    work = tmp_path / "theirs" / made / "work"
    (work / "d").mkdir()
    (work / "in.txt").write_text("one\n")
    (work / "d" / "n.txt").write_text("two\n")
    call(config, "start", made)
    _poll_until(call, config, made, "completed")
    [ours] = store.jobs()
    # Upstream's own service leaves a flat file called d%2Fn.txt.
    assert (ours.work / "d" / "n.txt").read_text() == "two\n"
    assert ours.log("stdout.1") == "one\ntwo\n"


def test_upstream_cancels_a_job_here(remote: Any, call: Any, tmp_path: Path, wait_for: Any) -> None:
    config, store = remote
    jobid = call(config, "run", _spec(tmp_path, "sleep 300")).split()[1]
    wait_for(lambda: store.jobs() and store.jobs()[0].state() is JobState.active)
    call(config, "cancel", jobid)
    [ours] = store.jobs()
    wait_for(lambda: ours.state() is JobState.canceled)
    assert ours.last().info == "canceled by upstream"
