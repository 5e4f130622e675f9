"""The queue of a local backend: a folder of tickets, a number of slots, no daemon.

::

    <prefix>/.psik/queues/<backend>/
      lock               held while tickets are served
      tickets/<time>-<jobid>-<jobndx>
      slots/<number>     locked by the runner that holds the slot, for as long as it lives

Whoever adds a ticket, and every runner that ends, serves the queue: it locks a free slot, starts a
runner that inherits the lock, notes the runner's identity in the job folder, and only then lets it
go. The kernel frees the slot of a runner however that dies. A runner that is never let go runs
nothing, so a server of the queue can die at any point and no job is lost or run twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import sys
from pathlib import Path

from airflow_provider_lclstream.psik.layout import PRIVATE, JobFolder, read_json, write_json
from airflow_provider_lclstream.psik.processes import (
    ATTEMPT_VARIABLE,
    ProcessId,
    reap_children,
    remember_child,
)
from airflow_provider_lclstream.psik.state_log import StateLog, holding
from airflow_provider_lclstream.psik.states import JobState, Transition
from lclstreamer.core.errors import LCLStreamError

SLOT_DESCRIPTOR = 3
"""The descriptor under which a runner inherits the lock of its slot."""
_RUNNER = "airflow_provider_lclstream.psik.runner"
_TICKET = re.compile(r"[0-9.]+-(?P<jobid>[0-9.]+)-(?P<jobndx>[0-9]+)")
_DAMAGED_FOLDER = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
"""What goes wrong with one job's folder alone; a full disk, say, is every job's trouble."""


class LocalQueue:
    """The tickets and slots of one local backend."""

    def __init__(self, prefix: Path, backend: str, slots: int) -> None:
        self.prefix = prefix
        self.folder = prefix / PRIVATE / "queues" / backend
        self.slots = slots

    def add(self, jobid: str, row: Transition) -> None:
        """Queue an attempt. Adding it again changes nothing: the ticket's name is its row's."""
        self.ticket(jobid, row).parent.mkdir(parents=True, exist_ok=True)
        self.ticket(jobid, row).touch()

    def ticket(self, jobid: str, row: Transition) -> Path:
        """Where the ticket of an attempt lies while it waits."""
        return self.folder / "tickets" / f"{row.time:017.6f}-{jobid}-{row.jobndx}"

    def withdraw(self, job: JobFolder, row: Transition) -> ProcessId | None:
        """Take an attempt's ticket back. Returns its runner instead, where one lives already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with holding(self.folder / "lock"):
            noted = (read_json(job.runner(row.jobndx)) or {}).get("runner")
            runner = ProcessId.from_dict(noted)
            if runner is not None and (runner.is_alive or not runner.can_be_judged):
                return runner
            self.ticket(job.jobid, row).unlink(missing_ok=True)
            return None

    def serve(self) -> None:
        """Start runners for the oldest tickets while there are free slots."""
        reap_children()
        if not self._tickets():
            return
        with holding(self.folder / "lock"):
            for ticket in self._tickets():
                slot = self._free_slot()
                if slot is None:
                    return
                try:
                    self._start(ticket, slot)
                finally:
                    os.close(slot)

    def _tickets(self) -> list[Path]:
        try:
            found = sorted((self.folder / "tickets").iterdir())
        except FileNotFoundError:
            return []
        # What is no ticket was left by others: NFS, an editor.
        return [path for path in found if _TICKET.fullmatch(path.name)]

    def _free_slot(self) -> int | None:
        folder = self.folder / "slots"
        folder.mkdir(exist_ok=True)
        for number in range(self.slots):
            handle = os.open(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                continue
            return handle
        return None

    def _start(self, ticket: Path, slot: int) -> None:
        _, jobid, jobndx = ticket.name.rsplit("-", 2)
        job, attempt = JobFolder(self.prefix / jobid), int(jobndx)
        try:
            self._start_runner(job, attempt, ticket, slot)
        except _DAMAGED_FOLDER as error:
            if error.filename == sys.executable:
                raise
            # Those behind it in the queue must not wait for a folder to be mended.
            with contextlib.suppress(LCLStreamError):
                problem = f"its runner cannot start: {error.filename}: {error.strerror}"
                StateLog(job.status).append(attempt, JobState.failed, problem)
            ticket.unlink(missing_ok=True)

    def _start_runner(self, job: JobFolder, attempt: int, ticket: Path, slot: int) -> None:
        last = StateLog(job.status).last()
        if last is None or (last.jobndx, last.state) != (attempt, JobState.queued):
            ticket.unlink(missing_ok=True)  # canceled or removed while it waited
            return
        noted = read_json(job.runner(attempt)) or {}
        earlier = ProcessId.from_dict(noted.get("runner"))
        if earlier is not None and earlier.can_be_judged and earlier.is_alive:
            ticket.unlink(missing_ok=True)  # handed over twice: the first is on its way
            return
        gate, release = os.pipe()
        try:
            pid = _spawn(job, attempt, gate, slot)
            remember_child(pid)
            runner = ProcessId.of(pid)
            if runner is not None:
                starts = int(noted.get("starts", 0)) + 1
                write_json(
                    job.runner(attempt), {"runner": runner.to_dict(), "starts": starts}, sync=False
                )
                ticket.unlink(missing_ok=True)
                os.write(release, b"+")
        finally:
            os.close(gate)
            os.close(release)


def _spawn(job: JobFolder, jobndx: int, gate: int, slot: int) -> int:
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    # A job may submit jobs; they are not its own processes and must not end with it.
    environment = {**os.environ, ATTEMPT_VARIABLE: f"runner of {job.path}#{jobndx}"}
    # Opened here, so that an error says which file it is about.
    console = os.open(job.console, append, 0o644)
    # Copies with high numbers, so that placing one descriptor cannot overwrite another.
    high = [fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 10) for handle in (gate, slot, console)]
    os.close(console)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", _RUNNER, str(job.path), str(jobndx), "--local"],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, high[0], 0),
                (os.POSIX_SPAWN_DUP2, high[2], 1),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, high[1], SLOT_DESCRIPTOR),
            ],
            setsid=True,
            # Held back until the runner listens, so that a cancel cannot come too early.
            setsigmask=[signal.SIGTERM],
        )
    finally:
        for handle in high:
            os.close(handle)
