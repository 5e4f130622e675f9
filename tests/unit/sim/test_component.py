"""A program and everything it started: its end is certain, its log is shown."""

from __future__ import annotations

import os
import sys
import time

import pytest

from airflow_provider_lclstream.sim.component import (
    Component,
    ComponentFailedError,
    start_time,
    wait_until_written,
)


def component(tmp_path, code: str) -> Component:
    return Component(
        "the program",
        [sys.executable, "-c", code],
        log=tmp_path / "log",
        environment=os.environ,
        folder=tmp_path,
    )


def test_an_end_that_should_not_be_shows_the_log(tmp_path):
    program = component(tmp_path, "print('so it goes'); raise SystemExit(3)")
    program.start()
    assert program.wait(20) == 3
    with pytest.raises(ComponentFailedError, match="ended with exit code 3") as caught:
        program.check()
    assert "| so it goes" in caught.value.problem
    program.stop()


def test_what_ignores_the_polite_way_is_ended_all_the_same(tmp_path, wait_for):
    code = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        # A child in a session of its own, as a job's would be, that ignores it too.
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time;"
        " signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'],"
        " start_new_session=True)\n"
        "open('child', 'w').write(str(child.pid)); open('ready', 'w').close(); time.sleep(60)\n"
    )
    program = component(tmp_path, code)
    program.start()
    wait_until_written(tmp_path / "ready", program, 20)
    child = int((tmp_path / "child").read_text())
    assert start_time(child) is not None
    begun = time.monotonic()
    program.stop(timeout_seconds=0.3)
    assert time.monotonic() - begun < 8
    assert program.exit_code == -9
    wait_for(lambda: _is_gone(child), what="the end of the child")


def _is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_waiting_for_a_program_that_ends_says_so_at_once(tmp_path):
    program = component(tmp_path, "print('no'); raise SystemExit(1)")
    program.start()
    with pytest.raises(ComponentFailedError, match="exit code 1"):
        wait_until_written(tmp_path / "never", program, 20)
    program.stop()


def test_waiting_is_bounded(tmp_path):
    program = component(tmp_path, "import time; time.sleep(60)")
    program.start()
    try:
        with pytest.raises(ComponentFailedError, match="was not ready within"):
            wait_until_written(tmp_path / "never", program, 0.3)
        with pytest.raises(ComponentFailedError, match="still runs"):
            program.wait(0.1)
    finally:
        program.stop()


def test_a_program_that_is_not_there(tmp_path):
    absent = Component(
        "nothing", [tmp_path / "absent"], log=tmp_path / "log", environment={}, folder=tmp_path
    )
    with pytest.raises(ComponentFailedError, match="cannot be started"):
        absent.start()
    absent.stop()
