"""The names inside a job folder, and how files get there whole.

::

    <prefix>/<jobid>/
      spec.json      the JobSpec, without its secret
      status.csv     the state log: time,jobndx,state,info; the first info says whose it is
      log/           console, stdout.<jobndx>, stderr.<jobndx>
      work/          where the script runs, unless the spec names a directory
      .psik/         ours: secret, script, and per attempt: settings, runner, cancel, result
    <prefix>/.psik/  queues and idempotency keys

All but ``.psik`` is as upstream's psik lays it out, so that its tools can read our folders.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

JOBID = re.compile(r"[0-9]+(\.[0-9]+)?")
PRIVATE = ".psik"


class JobFolder:
    """The paths of one job. Knows names, touches nothing by itself."""

    __slots__ = ("jobid", "path", "private")

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.jobid = self.path.name
        self.private = self.path / PRIVATE

    @property
    def prefix(self) -> Path:
        """The folder this job lies in."""
        return self.path.parent

    @property
    def spec(self) -> Path:
        """The JobSpec as JSON."""
        return self.path / "spec.json"

    @property
    def status(self) -> Path:
        """The state log."""
        return self.path / "status.csv"

    @property
    def logs(self) -> Path:
        """The folder of logs."""
        return self.path / "log"

    @property
    def work(self) -> Path:
        """The default working directory."""
        return self.path / "work"

    @property
    def console(self) -> Path:
        """What psik itself has to say about this job."""
        return self.logs / "console"

    @property
    def script(self) -> Path:
        """The script, as a file; its runner writes it."""
        return self.private / "script"

    @property
    def secret(self) -> Path:
        """The callback's secret, mode 0600; absent where there is none."""
        return self.private / "secret"

    def attempt(self, jobndx: int) -> Path:
        """What the runner of an attempt needs to know, mode 0600 (it holds the environment)."""
        return self.private / f"attempt.{jobndx}.json"

    def native(self, jobndx: int) -> Path:
        """What the backend calls this attempt; absent until it has taken it."""
        return self.private / f"native.{jobndx}.json"

    def submission(self, jobndx: int) -> Path:
        """Locked while an attempt is handed to its backend; holds a word once that was tried."""
        return self.private / f"submission.{jobndx}"

    def remark(self, jobndx: int) -> Path:
        """What the backend says of an attempt without its state changing: why it waits."""
        return self.private / f"remark.{jobndx}.json"

    def runner(self, jobndx: int) -> Path:
        """Which process runs an attempt, and which its script is."""
        return self.private / f"runner.{jobndx}.json"

    def claim(self, jobndx: int) -> Path:
        """Made by the first runner of an attempt; holds the scheduler's id of that one."""
        return self.private / f"claim.{jobndx}"

    def cancel_request(self, jobndx: int) -> Path:
        """Exists once a cancel of this attempt was requested; holds the reason."""
        return self.private / f"cancel.{jobndx}.json"

    def result(self, jobndx: int) -> Path:
        """How the script ended: exit code, signal, resource usage."""
        return self.private / f"result.{jobndx}.json"


def new_jobid(seconds: float) -> str:
    """An id that sorts by time and does not rest on the clock alone: milliseconds and chance."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{whole}.{milliseconds:03d}{secrets.randbelow(10**6):06d}"


def is_jobid(name: str) -> bool:
    """Whether a name can be a job's: digits, optionally a point and digits."""
    return JOBID.fullmatch(name) is not None and len(name) <= 64


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644, sync: bool = True) -> None:
    """Write a file so that a reader sees all of it or none, and a crash loses neither."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def write_json(path: Path, document: Any, *, mode: int = 0o644, sync: bool = True) -> None:
    """Write one JSON document atomically.

    Without ``sync`` it may be lost when the machine loses its power: for what is worthless then.
    """
    write_atomically(path, json.dumps(document).encode() + b"\n", mode=mode, sync=sync)


def read_request(path: Path) -> dict[str, Any] | None:
    """Read a request to cancel, or None where there is none.

    On a full disk only its name may have been written; that is a request too.
    """
    found = read_json(path)
    return {} if found is None and path.exists() else found


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object, or None where there is none (yet)."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        # Files are replaced whole, so this is damage from outside; the caller decides without it.
        return None
