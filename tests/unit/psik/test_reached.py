"""`lclstream psik reached`: quick, checked, light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_lclstream.psik.cli import fast_main
from airflow_provider_lclstream.psik.models import JobSpec, JobState
from airflow_provider_lclstream.psik.states import TransitionRefusedError
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import BadInputError, LCLStreamError, UsageError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return JobStore(tmp_path).create(JobSpec(script="true")).folder


def test_it_records_a_state(base: Path) -> None:
    assert fast_main(["reached", str(base), "1", "active"]) == 0
    assert fast_main(["reached", str(base), "1", "failed", "exit code 3"]) == 0
    job = JobStore(base.parent).get(base.name)
    assert job.state() is JobState.failed
    assert job.last().info == "exit code 3"


def test_out_of_order_reports_are_refused(base: Path) -> None:
    with pytest.raises(TransitionRefusedError):
        fast_main(["reached", str(base), "7", "completed"])


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], UsageError),
        (["BASE", "one", "active"], UsageError),
        (["BASE", "1", "asleep"], UsageError),
        (["BASE", "1", "queued"], UsageError),
        (["BASE", "1", "active", "a", "b"], UsageError),
        (["/nowhere", "1", "active"], BadInputError),
    ],
)
def test_mistakes_are_told(base: Path, words: list[str], error: type[LCLStreamError]) -> None:
    with pytest.raises(error) as caught:
        fast_main(["reached", *(str(base) if word == "BASE" else word for word in words)])
    assert caught.value.mend


def test_its_help_is_as_light(capsys: pytest.CaptureFixture[str]) -> None:
    assert fast_main(["reached", "--help"]) == 0
    assert "usage: lclstream psik reached" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["psik.reached", "psik.cli", "psik.runner"])
def test_it_imports_only_what_is_light(module: str) -> None:
    code = (
        f"import sys, airflow_provider_lclstream.{module}\n"
        "heavy = {'airflow', 'pydantic', 'typer', 'rich', 'yaml', 'subprocess', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert answer.stdout.strip() == "[]"
