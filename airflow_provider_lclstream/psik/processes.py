"""Which process is which, and how to end all of a job's. Linux's ``/proc`` only.

A pid alone is recycled; a pid with its start time, on one boot of one host, is not.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")
_PR_SET_CHILD_SUBREAPER = 36
ATTEMPT_VARIABLE = "PSIK_ATTEMPT"
"""Set in every script's environment to ``<job folder>#<jobndx>``: it marks the job's processes,
also those that left its session."""


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, instead of the system's init."""
    import ctypes  # takes milliseconds, and only runners need it

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process, beyond doubt.

    Attributes:
        pid: its number.
        start_ticks: when it started, in clock ticks since boot.
        boot: the boot it belongs to (the kernel's random boot id).
        host: the host it runs on.
    """

    pid: int
    start_ticks: int
    boot: str
    host: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The identity of a running process, or None where there is none."""
        ticks = start_ticks(pid)
        return None if ticks is None else cls(pid, ticks, boot_id(), platform.node())

    @classmethod
    def from_dict(cls, fields: dict[str, Any] | None) -> ProcessId | None:
        """Read what `to_dict` wrote; None where it is missing or damaged."""
        try:
            return cls(**fields) if fields else None
        except TypeError:
            return None

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        return asdict(self)

    @property
    def can_be_judged(self) -> bool:
        """Whether this host is the one to say if the process is alive."""
        return self.host == platform.node()

    @property
    def is_alive(self) -> bool:
        """Whether it still runs here. A zombie does not."""
        return self.boot == boot_id() and start_ticks(self.pid) == self.start_ticks

    @property
    def session(self) -> int | None:
        """The session it leads, or led; None where that is another's by now, or was elsewhere."""
        is_ours = self.boot == boot_id() and self.can_be_judged
        return self.pid if is_ours and start_ticks(self.pid) in {None, self.start_ticks} else None


def boot_id() -> str:
    """The random id the kernel drew when it booted; empty where it tells none."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone or a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def _stat(pid: int | str) -> list[str] | None:
    """The fields of ``/proc/<pid>/stat`` after the name: state, parent, group, session, more."""
    try:
        text = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name stands in parentheses and may hold anything, parentheses too.
    return text[text.rindex(b")") + 2 :].decode().split()


def members(session: int | None, mark: str, runner: int | None = None) -> list[int]:
    """The pids of a session, and of every process whose environment bears the attempt's mark.

    Args:
        session: the session of the script.
        mark: the attempt's.
        runner: the process that has adopted the attempt's orphans: what descends from it is found
            also where it has a session and an environment of its own.
    """
    needle = f"{ATTEMPT_VARIABLE}={mark}\0".encode()
    found: list[int] = []
    children: dict[int, list[int]] = {}
    for name in os.listdir(PROC):  # noqa: PTH208  (names are all that is needed, and quickest)
        if not name.isdigit() or int(name) == os.getpid():
            continue
        fields = _stat(name)
        if fields is None or fields[0] in "ZX":
            continue
        if (session is not None and int(fields[3]) == session) or _bears(name, needle):
            found.append(int(name))
        children.setdefault(int(fields[1]), []).append(int(name))
    if runner is not None:
        found += _descendants(runner, children, needle) - set(found)
    return found


def _descendants(ancestor: int, children: dict[int, list[int]], needle: bytes) -> set[int]:
    """What descends from a process, but for the runners and couriers that its job has started."""
    found, left = set[int](), list(children.get(ancestor, ()))
    while left:
        pid = left.pop()
        is_others = _bears(str(pid), f"{ATTEMPT_VARIABLE}=".encode()) and not _bears(
            str(pid), needle
        )
        if not is_others:
            found.add(pid)
            left += children.get(pid, ())
    return found


def _bears(pid: str, needle: bytes) -> bool:
    try:
        return needle in (PROC / pid / "environ").read_bytes() + b"\0"
    except OSError:
        return False


def end_all(
    session: int | None, mark: str, grace_seconds: float, runner: int | None = None
) -> bool:
    """Ask all processes of an attempt to end (TERM), then make them (KILL): its `members`.

    Returns:
        Whether they are all gone; False only where the kernel keeps one (uninterruptible).
    """
    ask_until = time.monotonic() + grace_seconds
    give_up = ask_until + 5.0
    asked: set[int] = set()
    pause = 0.01
    while pids := members(session, mark, runner):
        moment = time.monotonic()
        if moment >= give_up:
            return False
        if moment >= ask_until:
            _send(pids, signal.SIGKILL)
        else:
            # Children born after the first look are asked too, each of them once.
            _send([pid for pid in pids if pid not in asked], signal.SIGTERM)
            asked.update(pids)
        _reap()
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
    return True


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            if number == signal.SIGTERM:
                os.kill(pid, signal.SIGCONT)  # a stopped process could not hear it


_children: set[int] = set()


def remember_child(pid: int) -> None:
    """Note a process started here whose end nobody waits for; `reap_children` collects it."""
    _children.add(pid)


def reap_children() -> None:
    """Collect the remembered children that have ended, so that no zombies gather."""
    for pid in tuple(_children):
        try:
            gone = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            gone = True
        if gone:
            _children.discard(pid)


_reap = reap_children
