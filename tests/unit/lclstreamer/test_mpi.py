"""Which rank this process is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from lclstreamer.core.errors import ConfigurationError
from lclstreamer.mpi import RankContext, find_rank, guard_rank, leave_launcher


@pytest.mark.parametrize(
    ("environment", "rank", "size", "found_by"),
    [
        ({}, 0, 1, "alone"),
        ({"PMI_RANK": "2", "PMI_SIZE": "3"}, 2, 3, "PMI_RANK"),
        (
            {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"},
            0,
            4,
            "OMPI_COMM_WORLD_RANK",
        ),
        (
            {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_ID": "0"},
            5,
            8,
            "SLURM_PROCID",
        ),
        # A batch script is no rank, although SLURM numbers it.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, 0, 1, "alone"),
        # mpirun inside a SLURM step: the nearer launcher counts.
        (
            {
                "PMI_RANK": "1",
                "PMI_SIZE": "2",
                "SLURM_PROCID": "0",
                "SLURM_STEP_NUM_TASKS": "1",
                "SLURM_STEP_ID": "0",
            },
            1,
            2,
            "PMI_RANK",
        ),
    ],
)
def test_the_launchers_environment(environment, rank, size, found_by):
    assert find_rank(environment=environment) == RankContext(rank, size, found_by)


@pytest.mark.parametrize(("rank", "size"), [("3", "3"), ("-1", "2"), ("x", "2"), ("0", "")])
def test_nonsense_is_refused(rank, size):
    with pytest.raises(ConfigurationError, match="is no rank"):
        find_rank(environment={"PMI_RANK": rank, "PMI_SIZE": size})


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 21])
@pytest.mark.parametrize("way", ["share", "block"])
def test_every_number_is_in_one_share(size, count, way):
    shares = [getattr(RankContext(rank, size), way)(count) for rank in range(size)]
    assert sorted(number for share in shares for number in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_rank_needs_no_communicator():
    assert find_rank(needs_communicator=True, environment={}).communicator is None


def test_leaving_the_launcher_forgets_its_variables(monkeypatch):
    for name in ("PMI_FD", "PMI_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KEPT", "1")
    leave_launcher()
    assert "KEPT" in os.environ
    assert not [name for name in os.environ if name.startswith(("PMI", "OMPI_"))]


@pytest.mark.parametrize(
    ("context", "variable"),
    [
        (RankContext(), "PMI_FD"),
        (RankContext(0, 2, "PMI_RANK", communicator="a communicator"), "PMI_FD"),
        (RankContext(0, 2, "SLURM_PROCID"), "SLURM_JOB_ID"),
    ],
)
def test_no_guard_where_none_is_needed(context, variable, monkeypatch):
    for name in ("HYDI_CONTROL_FD", "PMI_FD", "PMI_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "3")
    assert guard_rank(context) is None


GUARDED = """
import os, signal, sys, time
from lclstreamer.mpi import RankContext, guard_rank
code = guard_rank(RankContext(1, 2, "PMI_RANK"))
if code is None:
    {work}
sys.exit(code)
"""


def guarded(work: str, *, before: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", before + GUARDED.format(work=work)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PMI_FD": "9"},
    )


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        ("sys.exit(74)", 74, ""),
        ("sys.exit(0)", 0, ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "rank 1 of 2"),
    ],
)
def test_the_guard_ends_as_its_child_did_but_never_by_a_signal(work, code, said):
    process = guarded(work)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert said in error


def test_the_guard_hands_on_a_request_to_stop():
    process = guarded(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); print('up', flush=True); "
        "time.sleep(30)"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - started < 10


FORK_AND_TELL_TO_STOP = """
import os, signal
fork = os.fork
def fork_and_tell_to_stop():
    child = fork()
    if child:
        os.kill(os.getpid(), signal.SIGTERM)
    return child
os.fork = fork_and_tell_to_stop
"""


def test_a_request_to_stop_right_after_the_fork_does_not_leave_an_orphan():
    process = guarded("time.sleep(5)", before=FORK_AND_TELL_TO_STOP)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert "died of signal 15" in error
