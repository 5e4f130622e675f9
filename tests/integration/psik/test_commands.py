"""A scheduler's commands, as sites have them: wrapped, slow, with something left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.backends.commands import Commands
from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import BackendConfig
from airflow_provider_lclstream.psik.processes import members, start_ticks
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import BadInputError, UnavailableError


def test_what_stays_in_the_background_is_not_waited_for() -> None:
    # As ssh does with ControlPersist: its master keeps the descriptors it was given.
    background = int(Commands().run(["sh", "-c", "sleep 50 & echo $!"]))
    assert start_ticks(background) is not None, "it was waited for"
    os.kill(background, signal.SIGKILL)


def test_what_hangs_is_ended_with_all_it_has_started(
    tmp_path: Path, wait_for: Callable[..., Any]
) -> None:
    script = f"echo $$ > {tmp_path}/pid; sleep 600; true"
    with pytest.raises(UnavailableError, match="sh did not answer within"):
        Commands().run(["sh", "-c", script], timeout_seconds=2)
    session = int((tmp_path / "pid").read_text())
    wait_for(lambda: not members(session, "none"), what="the end of its processes")


def test_it_is_given_a_text_and_no_terminal() -> None:
    assert Commands().run(["cat"], text="é\n" * 100_000) == "é\n" * 100_000
    with pytest.raises(BadInputError, match="/dev/tty"):
        Commands().run(["sh", "-c", ": < /dev/tty"])


def test_what_cannot_be_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "sbatch").touch(mode=0o600)
    with pytest.raises(UnavailableError, match="sbatch cannot be run: Permission denied"):
        Commands().run([str(tmp_path / "sbatch")])


def test_ssh_keeps_the_environment_that_lets_it_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5CCNAME", "a ticket")
    job_environment = {"PATH": os.environ["PATH"]}
    through_ssh = Commands(["sh", "-c"], is_shell=True)
    words = ["sh", "-c", "echo ${KRB5CCNAME-none}"]
    assert through_ssh.run(words, environment=job_environment) == "a ticket\n"
    assert Commands().run(words, environment=job_environment) == "none\n"


def test_variables_reach_a_command_on_either_side() -> None:
    for commands in (Commands(), Commands(["sh", "-c"], is_shell=True)):
        assert commands.run(["sh", "-c", "echo $A"], variables={"A": "x y"}) == "x y\n"


SLURM = {
    "sbatch": "echo 77",
    "squeue": "exit 0",
    "scancel": "exit 0",
    # In the cluster's own time zone, unless it is told another one.
    "sacct": "export TZ=${TZ:-America/Los_Angeles}; date +'77|TIMEOUT|%Y-%m-%dT%H:%M:%S'",
}


def test_a_cluster_in_another_time_zone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    submit: Callable[..., Job],
    reach: Callable[..., Any],
) -> None:
    for name, body in SLURM.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("TZ", raising=False)
    store = JobStore(tmp_path / "jobs", {"default": BackendConfig(type="slurm")})
    job = submit(store, "true")
    reach(job)
    assert job.last().info == "time limit reached (SLURM TIMEOUT)"
