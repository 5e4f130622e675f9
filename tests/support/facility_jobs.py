"""The scheduler inside the doubles of facilities: it really runs commands, as local processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass
class FacilityJob:
    """A job in SLURM's words."""

    jobid: str
    name: str
    state: str = "PENDING"
    exit_code: int | None = None
    is_canceled: bool = False


class FacilityJobs:
    """Runs commands as SLURM does: a queue, a time limit, SIGTERM and then SIGKILL.

    Jobs can be forgotten with `forget`; time limits are in minutes of `minute_seconds`.
    """

    def __init__(self, *, pending_seconds: float = 0.05, kill_wait_seconds: float = 5) -> None:
        self.pending_seconds, self.kill_wait_seconds = pending_seconds, kill_wait_seconds
        self.minute_seconds = 60.0
        self.jobs: dict[str, FacilityJob] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_closed = threading.Event()

    def submit(
        self,
        command: Sequence[str],
        *,
        name: str,
        directory: str,
        output: str,
        limit_minutes: float,
        environment: Mapping[str, str],
    ) -> str:
        """Queue a command; returns its id."""
        with self._lock:
            job = FacilityJob(str(1000 + len(self.jobs)), name)
            self.jobs[job.jobid] = job
        limit_seconds = limit_minutes * self.minute_seconds
        settings = (list(command), directory, output, limit_seconds, dict(environment))
        thread = threading.Thread(target=self._run, args=(job, *settings))
        self._threads.append(thread)
        thread.start()
        return job.jobid

    def cancel(self, jobid: str) -> None:
        """End a job, as scancel does; nothing where it has ended."""
        with self._lock:
            job = self.jobs[jobid]
            job.is_canceled = job.is_canceled or job.state in {"PENDING", "RUNNING"}
            if job.state == "PENDING":
                job.state = "CANCELLED by 1000"
        self._signal(jobid, signal.SIGTERM)

    def forget(self, jobid: str) -> None:
        """Lose the record of a job, as accounting that was purged has."""
        with self._lock:
            self.jobs[jobid].name = self.jobs[jobid].state = "(forgotten)"

    def close(self) -> None:
        """End whatever still runs, and wait for it."""
        self._is_closed.set()
        for jobid in list(self._processes):
            self._signal(jobid, signal.SIGTERM)
        for thread in self._threads:
            thread.join(self.kill_wait_seconds + 10)

    def _run(
        self,
        job: FacilityJob,
        command: list[str],
        directory: str,
        output: str,
        limit_seconds: float,
        environment: dict[str, str],
    ) -> None:
        if self._is_closed.wait(self.pending_seconds):
            return
        with self._lock:
            if job.state != "PENDING":
                return
            with Path(output).open("ab") as console:
                process = subprocess.Popen(
                    command,
                    cwd=directory,
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    start_new_session=True,
                )
            self._processes[job.jobid], job.state = process, "RUNNING"
        code, is_late = self._wait(job, process, limit_seconds)
        with self._lock:
            job.exit_code = code
            job.state = _final_state(job, code, is_late=is_late)

    def _wait(
        self, job: FacilityJob, process: subprocess.Popen[bytes], limit_seconds: float
    ) -> tuple[int, bool]:
        started, asked_at = time.monotonic(), 0.0
        is_late = False
        while (code := process.poll()) is None:
            now = time.monotonic()
            if not is_late and now - started >= limit_seconds:
                is_late = True
                self._signal(job.jobid, signal.SIGTERM)
            if is_late or job.is_canceled or self._is_closed.is_set():
                asked_at = asked_at or now
                if now - asked_at >= self.kill_wait_seconds:
                    self._signal(job.jobid, signal.SIGKILL)
            time.sleep(0.01)
        return code, is_late

    def _signal(self, jobid: str, number: signal.Signals) -> None:
        process = self._processes.get(jobid)
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)


def _final_state(job: FacilityJob, code: int, *, is_late: bool) -> str:
    if job.is_canceled:
        return "CANCELLED by 1000"
    if is_late:
        return "TIMEOUT"
    return "FAILED" if code else "COMPLETED"
