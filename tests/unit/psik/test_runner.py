"""The pure parts of the runner: interpreter lines, and how an end is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.endings import conclude
from airflow_provider_lclstream.psik.models import JobState
from airflow_provider_lclstream.psik.runner import interpreter_of


@pytest.mark.parametrize(
    ("first_line", "command"),
    [
        ("echo hi", ["/bin/bash"]),
        ("#!/bin/sh", ["/bin/sh"]),
        ("#! /usr/bin/env  python3 -u", ["/usr/bin/env", "python3 -u"]),
        ("#!/usr/bin/env -S bash -eu", ["/usr/bin/env", "-S bash -eu"]),
        ("#!", ["/bin/bash"]),
        ("# !/bin/sh", ["/bin/bash"]),
    ],
)
def test_interpreter_lines_are_read_as_the_kernel_reads_them(
    tmp_path: Path, first_line: str, command: list[str]
) -> None:
    script = tmp_path / "script"
    script.write_text(first_line + "\ntrue\n")
    assert interpreter_of(script) == command


ASKED = {"reason": "canceled by alice"}


@pytest.mark.parametrize(
    ("result", "request_", "state", "info"),
    [
        ({"exit_code": 0}, None, JobState.completed, "exit code 0"),
        ({"exit_code": 3}, None, JobState.failed, "exit code 3"),
        ({"signal": 9}, None, JobState.failed, "signal 9 (SIGKILL)"),
        ({"signal": 15, "reached_time_limit": True}, None, JobState.failed, "time limit reached"),
        ({"exit_code": 0, "asked_to_end": True}, None, JobState.failed, "SIGTERM from outside"),
        ({"exit_code": 0, "asked_to_end": True}, ASKED, JobState.canceled, "canceled by alice"),
        ({"signal": 15}, ASKED, JobState.canceled, "canceled by alice"),
        # It had ended by itself before the request reached it.
        ({"exit_code": 0}, ASKED, JobState.completed, "exit code 0"),
        ({"exit_code": 127, "problem": "cannot start: x"}, None, JobState.failed, "cannot start"),
    ],
)
def test_how_an_end_is_named(
    result: dict[str, Any], request_: dict[str, Any] | None, state: JobState, info: str
) -> None:
    found, text = conclude(result, request_)
    assert found is state
    assert info in text
