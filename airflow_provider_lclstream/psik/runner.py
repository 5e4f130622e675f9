"""The small process around one attempt of a job: ``python -m …psik.runner FOLDER JOBNDX``.

It records ``active``, runs the script from its file in a session of its own with nothing on
standard input, holds it to its time limit, ends all of its processes when asked to (SIGTERM), and
records how it ended. It outlives the process that submitted the job. It imports only the standard
library and the lightest modules of this package, so that a job starts within a tenth of a second.

With ``--local`` it waits at its gate (one byte on standard input) until the queue has noted who it
is, enforces the time limit itself, and serves the queue when it ends. Without, it runs inside a
scheduler's allocation: there the scheduler enforces limits and knows reasons better, so an end by
a signal is left in the result file for the reconciler to explain.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from airflow_provider_lclstream.psik.endings import conclude, reason_of
from airflow_provider_lclstream.psik.layout import (
    JobFolder,
    read_json,
    read_request,
    write_atomically,
    write_json,
)
from airflow_provider_lclstream.psik.local_queue import SLOT_DESCRIPTOR, LocalQueue
from airflow_provider_lclstream.psik.processes import (
    ATTEMPT_VARIABLE,
    ProcessId,
    adopt_orphans,
    end_all,
)
from airflow_provider_lclstream.psik.state_log import StateLog
from airflow_provider_lclstream.psik.states import JobState, TransitionRefusedError
from lclstreamer.core.errors import LCLStreamError, OutputError

_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_LOOK_SECONDS = 60.0
"""Longest sleep between two looks; signals wake it at once."""
_ROOM_SECONDS = 3600.0
"""How long a runner waits for room on a full disk, to record an end that nobody else knows."""


class Runner:
    """One attempt, from its start to its recorded end."""

    def __init__(self, folder: Path, jobndx: int, *, is_local: bool) -> None:
        self.job, self.jobndx, self.is_local = JobFolder(folder), jobndx, is_local
        self.log = StateLog(self.job.status)
        self.settings: dict[str, Any] = read_json(self.job.attempt(jobndx)) or {}
        self.mark = f"{self.job.path}#{jobndx}"
        self.started = time.time()
        self.asked_to_end = False
        self.reached_time_limit = False

    def run(self) -> int:
        """Run the script and record its end; returns the exit code for the scheduler."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        request = read_request(self.job.cancel_request(self.jobndx))
        try:
            if request is not None:
                self.log.append(self.jobndx, JobState.canceled, reason_of(request))
                return 0
            if not self.is_local and not self._claim():
                return 75
            self.log.append(self.jobndx, JobState.active, self._native_id())
        except TransitionRefusedError as refusal:
            _say(f"attempt {self.jobndx} is not run: {refusal.problem}")
            return 0
        adopt_orphans()
        try:
            pid = self._spawn()
        except OSError as error:
            code = 127 if error.errno == errno.ENOENT else 126
            what = error.filename or self.job.script
            return self._finish(code, None, None, f"cannot start: {what}: {error.strerror}")
        script = ProcessId.of(pid)
        self._note_script(script)
        status, usage = self._wait(pid)
        self._end_all(pid, 0.0 if self.asked_to_end else self._grace_seconds)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        return self._finish(os.waitstatus_to_exitcode(status), number, usage, "")

    def _claim(self) -> bool:
        """Make this attempt ours. False: the scheduler was handed it twice, or runs it again."""
        path = self.job.claim(self.jobndx)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            first = path.read_text(encoding="utf-8")
            _say(f"attempt {self.jobndx} is run by {first or 'another runner'} already")
            return False
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(self._native_id())
        return True

    @property
    def _grace_seconds(self) -> float:
        return float(self.settings.get("grace_seconds", 10.0))

    def _native_id(self) -> str:
        return os.environ.get("SLURM_JOB_ID", "") if not self.is_local else str(os.getpid())

    def _note_script(self, script: ProcessId | None) -> None:
        runner = ProcessId.of(os.getpid())
        noted = {"runner": runner.to_dict()} if runner else {}
        if script is not None:
            noted["script"] = script.to_dict()
        # A full disk is no reason to leave the script alone: what the queue noted still stands.
        _try_to_write(self.job.runner(self.jobndx), noted)

    def _spawn(self) -> int:
        self._write_script()
        os.chdir(self.settings.get("directory") or self.job.work)
        command = interpreter_of(self.job.script)
        logs = self.job.logs
        # Appending: a script that opens /dev/stderr anew (`tee`) must not tear holes into its log.
        create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        return os.posix_spawnp(
            command[0],
            [*command, str(self.job.script)],
            self._environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(logs / f"stdout.{self.jobndx}"), create, 0o644),
                (os.POSIX_SPAWN_OPEN, 2, str(logs / f"stderr.{self.jobndx}"), create, 0o644),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, *_WATCHED],
        )

    def _write_script(self) -> None:
        text = str((read_json(self.job.spec) or {}).get("script", ""))
        if not text:
            raise OSError(errno.EIO, "holds no script", str(self.job.spec))
        content = (text if text.endswith("\n") else text + "\n").encode()
        write_atomically(self.job.script, content, mode=0o700, sync=False)

    def _environment(self) -> dict[str, str]:
        inherited = self.settings.get("inherited_environment")
        if inherited is None:
            # In an allocation: what the scheduler gave, all of it or only its own variables.
            whole = bool(self.settings.get("inherit_environment", True))
            inherited = {k: v for k, v in os.environ.items() if whole or k.startswith("SLURM_")}
        return {
            **inherited,
            "jobid": self._native_id() or self.job.jobid,
            "jobndx": str(self.jobndx),
            "base": str(self.job.path),
            "nodes": os.environ.get("SLURM_JOB_NUM_NODES", "1"),
            "mpirun": str(self.settings.get("mpirun", "mpirun")),
            ATTEMPT_VARIABLE: self.mark,
            **self.settings.get("environment", {}),
        }

    def _wait(self, pid: int) -> tuple[int, Any]:
        limit = self.settings.get("time_limit_seconds") if self.is_local else None
        deadline = None if limit is None else time.monotonic() + float(limit)
        while True:
            found, status, usage = os.wait4(-1, os.WNOHANG)
            if found == pid:
                return status, usage
            if found:
                continue  # an orphan
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                self.reached_time_limit, deadline = True, None
                self._end_all(pid, self._grace_seconds)
                continue
            pause = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - now)
            received = signal.sigtimedwait(_WATCHED, max(0.0, pause))
            if received is not None and received.si_signo != signal.SIGCHLD:
                self.asked_to_end = True
                self._end_all(pid, self._grace_seconds)

    def _end_all(self, session: int, grace_seconds: float) -> None:
        end_all(session, self.mark, grace_seconds, os.getpid())

    def _finish(self, code: int, number: int | None, usage: Any, problem: str) -> int:
        seconds = time.time() - self.started
        result: dict[str, Any] = {"exit_code": None if number else code, "signal": number}
        result["wall_seconds"] = round(seconds, 3)
        if usage is not None:
            result["user_seconds"] = usage.ru_utime
            result["system_seconds"] = usage.ru_stime
            result["max_resident_bytes"] = usage.ru_maxrss * 1024
        result["asked_to_end"] = self.asked_to_end
        result["reached_time_limit"] = self.reached_time_limit
        result["problem"] = problem
        # On this machine nobody else knows how it ended, so room for saying it is waited for.
        give_up, pause = time.monotonic() + (_ROOM_SECONDS if self.is_local else 0), 0.5
        while True:
            is_kept = _try_to_write(self.job.result(self.jobndx), result)
            if self._record(result) or is_kept or time.monotonic() >= give_up:
                return 128 + number if number else code
            time.sleep(pause)
            pause = min(pause * 2, 30.0)

    def _record(self, result: dict[str, Any]) -> bool:
        """Record the end, unless a scheduler knows it better; False where there is no room."""
        is_unusual = result["signal"] or self.asked_to_end or (result["exit_code"] or 0) >= 128
        if is_unusual and not self.is_local:
            return True
        state, info = conclude(result, read_request(self.job.cancel_request(self.jobndx)))
        try:
            with contextlib.suppress(TransitionRefusedError):
                # The script may have reported its own end, with `psik reached`; that one stands.
                self.log.append(self.jobndx, state, info)
        except OutputError:
            return False
        return True


def interpreter_of(script: Path) -> list[str]:
    """The command that a script's first line asks for, as the kernel reads it; else bash or sh."""
    with script.open("rb") as stream:
        first = stream.readline(4096)
    if first.startswith(b"#!"):
        words = first[2:].decode("utf-8", "replace").strip().split(maxsplit=1)
        if words:
            return words
    return ["/bin/bash"] if Path("/bin/bash").exists() else ["/bin/sh"]


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the disk may be full
        sys.stderr.write(f"psik runner: {text}\n")
        sys.stderr.flush()


def _try_to_write(path: Path, document: dict[str, Any]) -> bool:
    """Write a JSON file; False where there is no room for it, or its folder is gone."""
    try:
        write_json(path, document, sync=False)
    except OSError as error:
        _say(f"{path}: {error.strerror}")
    else:
        return True
    return False


def _pass_gate() -> bool:
    """Wait until the queue has noted who runs this attempt. False: it died; run nothing."""
    passed = os.read(0, 1) == b"+"
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return passed


def _serve_queue(runner: Runner) -> None:
    with contextlib.suppress(OSError):
        os.close(SLOT_DESCRIPTOR)
    backend, slots = runner.settings.get("backend"), runner.settings.get("slots")
    if backend and slots:
        try:
            LocalQueue(runner.job.prefix, backend, int(slots)).serve()
        except (LCLStreamError, OSError) as error:
            _say(f"the next job is left to the reconciler: {error}")


def main(argv: list[str]) -> int:
    """Run one attempt: ``FOLDER JOBNDX [--local]``."""
    folder, jobndx, is_local = Path(argv[0]), int(argv[1]), "--local" in argv[2:]
    if is_local:
        fcntl.fcntl(SLOT_DESCRIPTOR, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        if not _pass_gate():
            return 0
    runner = Runner(folder, jobndx, is_local=is_local)
    try:
        code = runner.run()
    except (LCLStreamError, OSError) as error:
        _say(str(error))
        code = 70
    if is_local:
        _serve_queue(runner)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
