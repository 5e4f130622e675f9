"""`lclstream psik …` as people and programs call it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.store import JobStore

Psik = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def psik(store: JobStore, tmp_path: Path, venv_bin: Path) -> Psik:
    config = tmp_path / "psik.json"
    config.write_text(json.dumps({"prefix": str(store.prefix)}))

    def call(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(venv_bin / "lclstream"), "psik", *words, "--config", str(config)],
            capture_output=True, text=True, timeout=60, input=stdin, cwd=tmp_path,
        )  # fmt: skip

    return call


@pytest.fixture
def spec(tmp_path: Path) -> Callable[[str], str]:
    def write(script: str) -> str:
        path = tmp_path / "job.yaml"
        path.write_text(json.dumps({"name": "cli", "script": script}))
        return str(path)

    return write


def test_run_wait_gives_the_scripts_exit_code(psik: Psik, spec: Callable[[str], str]) -> None:
    ended = psik("run", spec("echo hi; exit 3"), "--wait", "--json")
    assert ended.returncode == 3
    facts = json.loads(ended.stdout)
    assert (facts["state"], facts["info"], facts["name"]) == ("failed", "exit code 3", "cli")
    assert [row["state"] for row in facts["history"]] == ["new", "queued", "active", "failed"]
    assert psik("logs", facts["jobid"]).stdout == "hi\n"
    assert psik("logs", facts["jobid"], "--tail", "2").stdout == "i\n"


def test_a_job_from_birth_to_removal(psik: Psik, spec: Callable[[str], str]) -> None:
    jobid = psik("run", spec("echo begun; sleep 60"), "--no-submit").stdout.strip()
    assert json.loads(psik("status", jobid, "--json").stdout)[0]["state"] == "new"
    assert psik("start", jobid).returncode == 0
    assert "cli" in psik("ls").stdout
    refused = psik("start", jobid)
    assert refused.returncode == 65
    assert "mend:" in refused.stderr
    canceled = json.loads(psik("cancel", jobid, "--json").stdout)
    assert canceled[0]["state"] == "canceled"
    assert json.loads(psik("ls", "--state", "canceled", "--json").stdout)[0]["jobid"] == jobid
    assert json.loads(psik("ls", "--state", "active", "--json").stdout) == []
    assert psik("rm", jobid).returncode == 0
    missing = psik("status", jobid)
    assert missing.returncode == 65
    assert "there is no job" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_watch_and_follow_end_with_the_job(psik: Psik, spec: Callable[[str], str]) -> None:
    jobid = psik("run", spec("echo one; sleep 0.5; echo two; exit 2")).stdout.strip()
    assert psik("logs", jobid, "-f").stdout == "one\ntwo\n"
    watched = psik("watch", jobid, "--json")
    assert [json.loads(line)["state"] for line in watched.stdout.splitlines()] == [
        "new", "queued", "active", "failed",
    ]  # fmt: skip
    assert watched.returncode == 2


def test_the_same_key_is_the_same_job(psik: Psik, spec: Callable[[str], str]) -> None:
    path = spec("true")
    first = psik("run", path, "--key", "k").stdout
    assert psik("run", path, "--key", "k").stdout == first


def test_a_specification_from_standard_input_with_mistakes(psik: Psik) -> None:
    ended = psik("run", "-", stdin="script: true\nresorces: {}\nname: [1]\n")
    assert ended.returncode == 78
    assert "did you mean 'resources'" in ended.stderr
    assert ended.stderr.count("<standard input>:") >= 3
    assert "Traceback" not in ended.stderr


def test_run_in_a_pipe_does_not_wait_for_the_job(
    psik: Psik, spec: Callable[[str], str], store: JobStore, tmp_path: Path, venv_bin: Path
) -> None:
    path = spec("sleep 60")
    line = f"{venv_bin}/lclstream psik run {path} --config {tmp_path}/psik.json | cat"
    began = time.monotonic()
    subprocess.run(line, shell=True, check=True, timeout=30, capture_output=True)
    assert time.monotonic() - began < 15
    assert not store.jobs()[0].reconcile().is_final


def test_reached_costs_little(
    psik: Psik, spec: Callable[[str], str], store: JobStore, venv_bin: Path, figure: Any
) -> None:
    jobid = psik("run", spec("true"), "--no-submit").stdout.strip()
    base = str(store.prefix / jobid)

    def seconds(*command: str) -> float:
        """Processor time, which other programs of a busy machine do not add to."""
        best = 60.0
        for _ in range(7):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, timeout=30)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            best = min(best, used)
        return best

    bare = seconds(sys.executable, "-c", "pass")
    reached = seconds(str(venv_bin / "lclstream"), "psik", "reached", base, "1", "active")
    figure("reached_milliseconds_beyond_the_interpreter", (reached - bare) * 1000)
    assert reached - bare <= 0.15


def test_files_are_listed_and_printed(
    psik: Psik, spec: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "outside").write_text("secret")
    script = f"mkdir deep; echo one > deep/a.txt; printf 12 > b; ln -s {tmp_path}/outside link"
    jobid = json.loads(psik("run", spec(script), "--wait", "--json").stdout)["jobid"]
    listed = json.loads(psik("files", jobid, "--json").stdout)
    assert [(each["path"], each["size"]) for each in listed] == [("b", 2), ("deep/a.txt", 4)]
    assert "deep/a.txt" in psik("files", jobid).stdout
    assert psik("files", jobid, "deep/a.txt").stdout == "one\n"
    for name in ("nothing", "../spec.json", "link", "/etc/hostname", "deep"):
        refused = psik("files", jobid, name)
        assert (refused.returncode, refused.stdout) == (65, "")
        assert "has no file" in refused.stderr
