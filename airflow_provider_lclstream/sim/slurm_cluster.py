"""A private, real SLURM on this machine: munged, slurmctld and several slurmd, for tests and demos.

Everything lies in one folder and listens on free loopback ports, so clusters do not disturb each
other or one that is installed. The daemons run in the foreground as children of this process. It
needs Debian's packages slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins and munge, and
root. Where memory cgroups (v1) are writable, jobs are held to their memory by the kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from airflow_provider_lclstream.sim.slurm_conf import cgroup_conf, slurm_conf
from lclstreamer.core.errors import MissingDependencyError, UnavailableError

CGROUPS = Path("/sys/fs/cgroup")
_PR_SET_PDEATHSIG = 1
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")


def missing_parts() -> str | None:
    """What keeps a cluster from starting here, or None."""
    absent = [name for name in PROGRAMS if _program(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed"
    return None if os.geteuid() == 0 else "only root can start it"


class SlurmCluster:
    """One cluster; a context manager that starts and stops it.

    Attributes:
        folder: where everything of it lies.
        nodes: the nodes' names.
        environment: what programs need to talk to it (``SLURM_CONF``).
    """

    def __init__(self, node_count: int = 4, *, min_job_age_seconds: int = 3600) -> None:
        problem = missing_parts()
        if problem:
            raise MissingDependencyError(
                f"SLURM cannot be started: {problem}", mend="run `make provision PARTS=slurm`"
            )
        # munged must be able to walk to its socket, so this cannot lie below a private folder.
        self.folder = Path(tempfile.mkdtemp(prefix="lclstream-slurm-", dir="/tmp"))
        self.folder.chmod(0o755)
        tag = secrets.token_hex(2)
        self.nodes = [f"sdf{tag}{number:02d}" for number in range(1, node_count + 1)]
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self.has_cgroups = os.access(CGROUPS / "memory", os.W_OK)
        self._min_job_age_seconds = min_job_age_seconds
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start all daemons and wait until every node is idle."""
        for name in ("state", "spool", "log", "munge", "run"):
            (self.folder / name).mkdir()
        self._write_configuration()
        self._start_munge()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        _wait(self._all_idle, 30, "all nodes of the SLURM cluster are idle")

    def stop(self) -> None:
        """Stop all daemons, the jobs of this cluster with them, and remove its folder."""
        if self._daemons.get("slurmctld"):
            with contextlib.suppress(subprocess.SubprocessError):
                self.run(["scancel", "--state=RUNNING", "--signal=KILL"], timeout_seconds=10)
        order = [*self.nodes, "slurmctld", "munged"]
        for name in order:
            self.kill(name, signal.SIGTERM)
        for node in self.nodes:
            self._end_steps(node)
            for path in CGROUPS.glob(f"*/slurm_{node}"):
                _remove_cgroup(path)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, command: Sequence[str], *, timeout_seconds: float = 30) -> str:
        """Run a SLURM command against this cluster and return its output."""
        ended = subprocess.run(
            list(command),
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=True,
        )
        return ended.stdout

    def start_controller(self, *words: str) -> None:
        """Start slurmctld; ``-c`` makes it forget every job."""
        self._start("slurmctld", [_need("slurmctld"), "-D", *words])
        _wait(self._answers, 30, "slurmctld answers")

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node."""
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        self._start(node, [_need("slurmd"), "-D", "-N", node])

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End one daemon: a node's name, ``slurmctld`` or ``munged``. Waits until it is gone."""
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.send_signal(how)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(10)

    def kill_node(self, node: str) -> None:
        """Let a node die: its slurmd, its slurmstepds and all that they run, at once."""
        self.kill(node)
        self._end_steps(node)

    def _end_steps(self, node: str) -> None:
        mark = f"SLURMD_NODENAME={node}\0".encode()
        tasks = [pid for pid in _pids() if mark in _read(pid, "environ")]
        # The stepds first, so that none of them lives to report what became of its tasks.
        stepds = {parent for pid in tasks for parent in _stepds_above(pid)}
        for pid in [*stepds, *tasks]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _all_idle(self) -> bool:
        states = self.run(["sinfo", "-h", "-N", "-p", "milano", "-o", "%t"]).split()
        return states.count("idle") == len(self.nodes)

    def _answers(self) -> bool:
        try:
            return "UP" in self.run(["scontrol", "ping"])
        except subprocess.CalledProcessError:
            return False

    def _start(self, name: str, command: Sequence[str], user: str | None = None) -> None:
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                list(command),
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                preexec_fn=_end_with_parent,
            )

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        key = folder / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        for path in (folder, key):
            shutil.chown(path, "munge", "munge")
        folder.chmod(0o711)
        names = {"socket": "sock", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}
        options = [f"--{option}={folder / name}" for option, name in names.items()]
        command = [
            _need("munged"),
            "-F",
            *options,
            f"--log-file={folder / 'log'}",
            "--num-threads=2",
        ]
        self._start("munged", command, user="munge")
        _wait((folder / "sock").exists, 20, "munged listens")

    def _write_configuration(self) -> None:
        settings = slurm_conf(
            self.folder,
            host=socket.gethostname().split(".")[0],
            ports=_free_ports(len(self.nodes) + 1),
            nodes=self.nodes,
            has_cgroups=self.has_cgroups,
            min_job_age_seconds=self._min_job_age_seconds,
        )
        (self.folder / "slurm.conf").write_text(settings)
        (self.folder / "cgroup.conf").write_text(cgroup_conf(CGROUPS))


def _end_with_parent() -> None:
    """Ask the kernel to end this daemon when its parent dies, however that happens."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _need(name: str) -> str:
    found = _program(name)
    if found is None:
        raise MissingDependencyError(
            f"{name} is not installed", mend="run `make provision PARTS=slurm`"
        )
    return found


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _wait(condition: Callable[[], bool], timeout_seconds: float, what: str) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"not within {timeout_seconds:g} s: {what}", mend="look at the logs of its folder"
            )
        time.sleep(0.05)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _stepds_above(pid: int) -> list[int]:
    found: list[int] = []
    while pid > 1:
        if _read(pid, "cmdline").startswith(b"slurmstepd"):
            found.append(pid)
        stat = _read(pid, "stat")
        pid = int(stat[stat.rindex(b")") + 2 :].split()[1]) if stat else 0
    return found


def _remove_cgroup(path: Path) -> None:
    for inner in sorted(path.rglob("*"), reverse=True):
        if inner.is_dir():
            with contextlib.suppress(OSError):
                inner.rmdir()
    with contextlib.suppress(OSError):
        path.rmdir()
