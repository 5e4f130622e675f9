"""`lclstream psik …` as people and programs call it: over a folder, and over a service."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from identities import LOOPBACK, introduce, person, service

from airflow_provider_lclstream.psik.store import JobStore

Psik = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, free_port_of_module: int) -> tuple[Path, str]:
    """A folder with the identities ``server`` and ``alice``, and the URL that alice knows."""
    folder, url = tmp_path_factory.mktemp("people"), f"https://{LOOPBACK}:{free_port_of_module}"
    server, alice = service(folder / "server", "psik"), person(folder / "alice", "alice")
    introduce(server, alice, "alice", alias="psik", url=url)
    return folder, url


@pytest.fixture(scope="module")
def free_port_of_module() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(params=["folder", "service"])
def where(
    request: pytest.FixtureRequest, store: JobStore, tmp_path: Path, processes: Any, wait_for: Any
) -> Iterator[list[str]]:
    """The words that name a place of jobs; the jobs lie in ``store`` in any case."""
    config = tmp_path / "psik.json"
    config.write_text(
        json.dumps(
            {
                "prefix": str(store.prefix),
                "backends": {"default": store.backends["default"].model_dump(mode="json")},
            }
        )
    )
    if request.param == "folder":
        yield ["--config", str(config)]
        return
    folder, url = request.getfixturevalue("people")
    served = processes.start(
        ["lclstream", "psik", "serve", url, "--config", config, "--identity", folder / "server"]
    )
    wait_for(lambda: "listening" in served.stdout or served.process.poll() is not None)
    assert served.process.poll() is None, served.stderr
    yield ["--service", "psik", "--identity", str(folder / "alice")]
    assert "Traceback" not in served.stderr


@pytest.fixture
def psik(where: list[str], tmp_path: Path, venv_bin: Path) -> Psik:
    def call(
        *words: str, stdin: str | None = None, there: list[str] = where, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(venv_bin / "lclstream"), "psik", *words, *there],
            capture_output=True, text=True, timeout=60, input=stdin, cwd=tmp_path,
            env=os.environ | environment,
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


def test_a_failed_wait_says_where_the_complaints_are(
    psik: Psik, spec: Callable[[str], str]
) -> None:
    ended = psik("run", spec("echo the reason >&2; exit 3"), "--wait")
    jobid = ended.stdout.splitlines()[1].split()[0]
    assert f"`lclstream psik logs {jobid} stderr`" in ended.stderr
    assert psik("logs", jobid, "stderr").stdout == "the reason\n"
    assert json.loads(psik("logs", jobid, "stderr", "--json").stdout) == {
        "stderr.1": "the reason\n"
    }
    assert "no such jobs in" in psik("ls", "--state", "canceled").stderr


def test_a_list_says_where_jobs_run_and_whose_they_are(
    psik: Psik, spec: Callable[[str], str], where: list[str]
) -> None:
    psik("run", spec("true"), "--wait")
    header, row = psik("ls").stdout.splitlines()
    assert row.split()[5] == "default"
    is_shared = "--service" in where
    assert ("owner" in header, "uid:alice " in row) == (is_shared, is_shared)


def test_files_go_with_a_job(psik: Psik, spec: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "calib.bin").write_bytes(b"\xff\x00")
    words = ["run", spec("wc -c < calib.bin"), "--file", "calib.bin", "--key", "k"]
    jobid = psik(*words).stdout.strip()
    assert psik("watch", jobid).returncode == 0
    assert psik("logs", jobid).stdout.strip() == "2"
    again = psik(*words, "--wait", "--json")
    assert (json.loads(again.stdout)["jobid"], json.loads(again.stdout)["jobndx"]) == (jobid, 1)
    missing = psik("run", spec("true"), "--file", "nothing")
    assert (missing.returncode, "'nothing' does not exist" in missing.stderr) == (64, True)


def test_a_script_runs_as_it_is(psik: Psik, tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_text("#!/bin/sh\necho hi; sleep 1; echo ho; exit 4\n")
    ended = psik("run", "job.sh", "--follow")
    assert ended.returncode == 4
    assert ended.stdout.startswith("hi\nho\njobid ")
    assert "job.sh" in ended.stdout.splitlines()[3].split()
    counted = psik("run", "-", "-f", stdin="#!/usr/bin/env python3\nprint(6 * 7)\n")
    assert (counted.returncode, counted.stdout.splitlines()[0]) == (0, "42")


def test_following_ends_with_the_time(psik: Psik, spec: Callable[[str], str]) -> None:
    ended = psik("run", spec("echo hi; sleep 30"), "--follow", "--timeout", "1")
    assert (ended.returncode, ended.stdout) == (75, "hi\n")
    assert "did not end within 1 s" in ended.stderr
    assert psik("cancel", ended.stderr.splitlines()[0].split()[-1]).returncode == 0


def test_the_command_line_names_another_backend(psik: Psik, spec: Callable[[str], str]) -> None:
    refused = psik("run", spec("true"), "--backend", "elsewhere")
    assert refused.returncode != 0
    assert "elsewhere" in refused.stderr
    assert psik("run", spec("true"), "--backend", "default", "--wait").returncode == 0


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


def test_logs_as_a_document_and_logs_that_never_come(
    psik: Psik, spec: Callable[[str], str], wait_for: Callable[..., Any]
) -> None:
    jobid = psik("run", spec("seq 1000; sleep 600")).stdout.strip()
    wait_for(lambda: psik("logs", jobid, "--tail", "5").stdout == "1000\n")
    tail = json.loads(psik("logs", jobid, "stdout", "--json", "--tail", "5").stdout)
    assert tail == {"stdout.1": "1000\n"}
    never = psik("logs", jobid, "-f", "stdout.7")
    assert (never.returncode, "has no log 'stdout.7'" in never.stderr) == (65, True)
    assert psik("logs", jobid, "-f", "--json").returncode == 64
    psik("cancel", jobid)


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
    where: list[str], spec: Callable[[str], str], store: JobStore, venv_bin: Path
) -> None:
    path = spec("sleep 60")
    line = f"{venv_bin}/lclstream psik run {path} {shlex.join(where)} | cat"
    began = time.monotonic()
    subprocess.run(line, shell=True, check=True, timeout=30, capture_output=True)
    assert time.monotonic() - began < 15
    assert not store.jobs()[0].reconcile().is_final


@pytest.mark.parametrize("where", ["folder"], indirect=True)
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
        assert "file" in refused.stderr or "not a path" in refused.stderr


def test_files_are_saved(psik: Psik, spec: Callable[[str], str], tmp_path: Path) -> None:
    script = "mkdir deep; head -c 3000000 /dev/zero > deep/a; printf 12 > b; ln -s deep/a c"
    jobid = psik("run", spec(script), "--wait", "--json")
    jobid = json.loads(jobid.stdout)["jobid"]
    assert psik("files", jobid, "deep/a", "-o", "one").returncode == 0
    assert (tmp_path / "one").read_bytes() == bytes(3_000_000)
    assert psik("files", jobid, "-o", "all/of/it").returncode == 0
    assert psik("files", jobid, "deep/a", "-o", "all").returncode == 0
    assert (tmp_path / "all" / "a").is_file()
    saved = tmp_path / "all/of/it"
    assert sorted(path.name for path in saved.rglob("*")) == ["a", "b", "deep"]
    assert (saved / "b").read_bytes() == b"12"
    assert (saved / "deep/a").stat().st_size == 3_000_000
    assert psik("files", jobid, "nothing", "-o", "two").returncode == 65
    assert not list(tmp_path.glob("*two*"))


def test_a_job_that_no_backend_takes_is_refused(psik: Psik, spec: Callable[[str], str]) -> None:
    path = Path(spec("true"))
    path.write_text(json.dumps({"script": "true", "backend": "defualt"}))
    refused = psik("run", str(path))
    assert (refused.returncode in {65, 78}, refused.stdout) == (True, "")
    assert "no backend is called 'defualt'" in refused.stderr


def test_status_says_where_and_backends_what(
    psik: Psik, spec: Callable[[str], str], where: list[str], store: JobStore
) -> None:
    jobid = psik("run", spec("true"), "--no-submit").stdout.strip()
    folder, remote = f"folder: {store.prefix}/{jobid}", "service: https://psik"
    assert (remote if where[0] == "--service" else folder) in psik("status", jobid).stdout
    rows = json.loads(psik("backends", "--json").stdout)["backends"]
    assert [(row["name"], row["type"], row["problem"]) for row in rows] == [
        ("default", "local", None)
    ]
    assert psik("backends").stdout.split() == ["default", "local"]


@pytest.mark.parametrize("where", ["service"], indirect=True)
def test_the_environment_names_a_service(psik: Psik, where: list[str], tmp_path: Path) -> None:
    named = {"PSIK_SERVICE": where[1], "LCLSTREAM_IDENTITY": where[3]}
    assert json.loads(psik("ls", "--json", there=[], **named).stdout) == []
    both = psik("ls", "--config", "x.json")
    assert both.returncode == 64
    assert "exclude each other" in both.stderr
    missing = psik("ls", "--config", "x.json", there=[], **named)
    assert missing.returncode != 0
    assert "x.json" in missing.stderr, "what is said counts more than the environment"


@pytest.mark.parametrize("where", ["folder"], indirect=True)
def test_plain_http_stays_on_this_machine(
    psik: Psik, where: list[str], spec: Callable[[str], str], processes: Any, wait_for: Any
) -> None:
    elsewhere = psik("ls", there=["--service", "http://psik.example.org"])
    assert elsewhere.returncode == 78
    assert "not on this machine" in elsewhere.stderr
    nobody = psik("ls", there=["--service", "http://127.0.0.1:1"])
    assert nobody.returncode == 69
    assert "mend:" in nobody.stderr
    served = processes.start(
        ["lclstream", "psik", "serve", "http://127.0.0.1:0", *where, "--loopback-caller", "dev"]
    )
    wait_for(lambda: "listening" in served.stdout)
    there = ["--service", json.loads(served.stdout.splitlines()[0])["listening"]]
    ended = psik("run", spec("echo hi; exit 4"), "--wait", there=there)
    assert ended.returncode == 4
    assert "exit code 4" in ended.stdout
    assert psik("ls", "--identity", "x", there=[]).returncode == 64


@pytest.mark.parametrize("where", ["folder"], indirect=True)
def test_watching_outlives_a_restart_of_the_service(
    psik: Psik, where: list[str], spec: Callable[[str], str], people: tuple[Path, str],
    processes: Any, wait_for: Any,
) -> None:  # fmt: skip
    folder, url = people

    def serve() -> Any:
        served = processes.start(
            ["lclstream", "psik", "serve", url, *where, "--identity", folder / "server"]
        )
        wait_for(lambda: "listening" in served.stdout or served.process.poll() is not None)
        assert served.process.poll() is None, served.stderr
        return served

    there = ["--service", "psik", "--identity", str(folder / "alice")]
    served = serve()
    script = "echo here; while [ ! -e go ]; do sleep 0.1; done; echo went; exit 7"
    jobid = psik("run", spec(script), there=there).stdout.strip()
    words = ["lclstream", "psik", "watch", jobid, *there]
    watching = processes.start([*words, "--json"])
    following = processes.start(["lclstream", "psik", "logs", "-f", jobid, *there])
    wait_for(lambda: "active" in watching.stdout and following.stdout == "here\n")
    served.stop(signal.SIGKILL)
    for waiting in (watching, following):
        wait_for(
            lambda waiting=waiting: "asking again" in waiting.stderr,
            timeout_seconds=20, what=f"patience, not {waiting.stderr!r}",
        )  # fmt: skip
    serve()
    prefix = Path(json.loads(Path(where[1]).read_text())["prefix"])
    (prefix / jobid / "work" / "go").touch()
    assert watching.wait(30) == 7
    assert following.wait(30) == 0
    states = [json.loads(line)["state"] for line in watching.stdout.splitlines()]
    assert states == ["new", "queued", "active", "failed"]
    assert following.stdout == "here\nwent\n"


@pytest.mark.parametrize("where", ["folder"], indirect=True)
def test_help_imports_nothing_heavy(psik: Psik) -> None:
    code = (
        "import sys; from airflow_provider_lclstream.psik.cli import fast_main;"
        "fast_main(['run', '--help']);"
        "sys.exit(', '.join({'httpx2', 'yaml', 'cryptography', 'fastapi'} & set(sys.modules))"
        " or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
