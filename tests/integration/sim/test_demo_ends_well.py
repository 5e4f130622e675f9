"""However the demo ends, it says why and leaves nothing running."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

pytestmark = [pytest.mark.airflow]


def left_over(folder: Path) -> list[str]:
    """The processes that have a folder in their environment or arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            known = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if str(folder).encode() in known and state != "Z":
                found.append((process / "cmdline").read_bytes().decode().replace("\0", " "))
    return [name for name in found if "lclstream demo" not in name]


def test_a_port_in_use_is_said_at_once(processes, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = processes.run(
            ["lclstream", "demo", "--port", port, "--folder", tmp_path / "demo"],
            timeout_seconds=30,
        )
    assert ended.process.returncode == 69
    assert f"port {port} of 127.0.0.1 is in use" in ended.stderr
    assert ended.stderr.count("mend:") == 1
    assert "Traceback" not in ended.stderr


def test_a_folder_that_is_not_empty_is_refused(processes, tmp_path):
    (tmp_path / "mine").write_text("precious")
    ended = processes.run(["lclstream", "demo", "--folder", tmp_path], timeout_seconds=30)
    assert ended.process.returncode == 73
    assert "the folder is not empty" in ended.stderr
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_stops_everything(processes, tmp_path, wait_for, how):
    folder = tmp_path / "demo"
    demo = processes.start(["lclstream", "demo", "--folder", folder])
    wait_for(
        lambda: "run 1 is on disk" in demo.stderr or demo.process.poll() is not None,
        timeout_seconds=150,
        what="Airflow's start",
    )
    assert demo.process.poll() is None, demo.stderr
    assert left_over(folder)
    for name in ("passwords.json", "airflow.cfg"):
        assert (folder / "airflow" / name).stat().st_mode & 0o077 == 0
    demo.process.send_signal(how)
    wait_for(lambda: "stopping everything" in demo.stderr, timeout_seconds=5, what="an answer")
    demo.process.send_signal(how)  # impatience must not leave half of it running
    assert demo.wait(60) == 130
    assert "Traceback" not in demo.stderr
    wait_for(lambda: not left_over(folder), what="the end of everything")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_component_that_dies_is_named_with_its_log(processes, tmp_path, wait_for):
    folder = tmp_path / "demo"
    demo = processes.start(["lclstream", "demo", "--folder", folder])

    def triggerers() -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                mine = str(folder).encode() in (process / "environ").read_bytes()
                if mine and b"triggerer" in words:
                    found.append(int(process.name))
        return sorted(found)

    wait_for(lambda: triggerers() or demo.process.poll() is not None, timeout_seconds=150)
    pid = triggerers()[0]
    wait_for(lambda: "run 1 is on disk" in demo.stderr, timeout_seconds=60)
    os.kill(pid, signal.SIGKILL)
    assert demo.wait(120) == 69
    assert "component failed" in demo.stderr
    assert "triggerer ended with exit code -9" in demo.stderr
    assert "Traceback (most recent" not in demo.stderr.split("component failed")[0]
    wait_for(lambda: not left_over(folder), what="the end of everything")


@pytest.mark.slow
@pytest.mark.psana
@pytest.mark.timeout(300)
def test_a_transfer_that_fails_says_why(processes, tmp_path, wait_for):
    folder = tmp_path / "demo"
    demo = processes.start(["lclstream", "demo", "--folder", folder, "--events", "5"])
    wait_for(
        lambda: "run 1 is on disk" in demo.stderr or demo.process.poll() is not None,
        timeout_seconds=150,
    )
    for path in folder.glob("runs/**/*.xtc2"):
        path.unlink()
    assert demo.wait(250) == 74
    assert "the transfer of run 1 failed: the streamer's job is failed: exit code 65" in demo.stderr
    assert "No smalldata files found" in demo.stderr
    assert demo.stderr.count("mend:") == 1
    wait_for(lambda: not left_over(folder), what="the end of everything")
