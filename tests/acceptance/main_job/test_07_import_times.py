"""The programs that stand in job scripts start at once, and none of them knows Airflow."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

LIMIT_SECONDS = 0.5
DAG_LIMIT_SECONDS = 1.0
TRIES = 7
"""The quickest of so many counts: the question is what a program costs, not what else runs."""


@pytest.fixture
def job_folder(tmp_path: Path) -> Path:
    """A job that its queue has just let go."""
    from airflow_provider_lclstream.psik.models import JobSpec
    from airflow_provider_lclstream.psik.state_log import StateLog
    from airflow_provider_lclstream.psik.states import JobState
    from airflow_provider_lclstream.psik.store import JobStore

    job = JobStore(tmp_path / "jobs").create(JobSpec(script="#!/bin/sh\ntrue\n"))
    StateLog(job.folder / "status.csv").append(1, JobState.queued)
    return job.folder


def commands(job_folder: Path) -> dict[str, list[str]]:
    """The programs, by the name of their figure."""
    reached = ["lclstream", "psik", "reached", str(job_folder), "1", "active"]
    return {
        "lclstreamer_help": ["lclstreamer", "--help"],
        "nng_stream_help": ["nng-stream", "--help"],
        "psik_reached": reached,
        "lclstream_help": ["lclstream", "--help"],
    }


def seconds_of(arguments: list[str]) -> float:
    """How long a program takes from start to end."""
    started = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, timeout=30)
    return time.perf_counter() - started


@pytest.mark.parametrize(
    "name", ["lclstreamer_help", "nng_stream_help", "psik_reached", "lclstream_help"]
)
def test_it_starts_within_half_a_second(name, job_folder, venv_bin, figure):
    program, *words = commands(job_folder)[name]
    best = min(seconds_of([str(venv_bin / program), *words]) for _ in range(TRIES))
    figure(f"{name}_seconds", best)
    assert best <= LIMIT_SECONDS


@pytest.mark.parametrize(
    "name", ["lclstreamer_help", "nng_stream_help", "psik_reached", "lclstream_help"]
)
def test_it_imports_no_airflow(name, job_folder, venv_bin):
    program, *words = commands(job_folder)[name]
    python = [str(venv_bin / "python"), "-X", "importtime", str(venv_bin / program), *words]
    done = subprocess.run(python, capture_output=True, text=True, check=True, timeout=30)
    imported = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "lclstreamer" in imported
    heavy = {"airflow", "numpy", "h5py", "zmq", "pynng", "psana", "mpi4py", "fastapi", "structlog"}
    assert {name for name in imported if name.split(".")[0] in heavy} == set()


PARSE = """
import sys, time
import airflow.sdk
import airflow.providers.apache.kafka.triggers.shared_stream
started = time.perf_counter()
import importlib.util
spec = importlib.util.spec_from_file_location("dag_under_test", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print("seconds", time.perf_counter() - started)
"""


@pytest.mark.airflow
@pytest.mark.parametrize("dag", ["lclstream_transfer", "lclstream_run_events"])
def test_a_dag_file_is_parsed_within_a_second(dag, repository, processes, tmp_path, figure):
    program = tmp_path / "parse.py"
    program.write_text(PARSE)
    home = {"AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    took = []
    for _ in range(3):
        file = repository / "dags" / f"{dag}.py"
        done = processes.run(["python", program, file], environment=home)
        assert done.process.returncode == 0, done.stderr[-3000:]
        took.append(float(re.findall(r"^seconds (\S+)", done.stdout, re.MULTILINE)[0]))
    figure(f"parse_{dag}_seconds", min(took))
    assert min(took) <= DAG_LIMIT_SECONDS
