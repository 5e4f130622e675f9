"""A program that the demo started: its log, its end, and the end of all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lclstreamer.core.errors import UnavailableError

SHOWN_LOG_LINES = 15
POLL_SECONDS = 0.05


class ComponentFailedError(UnavailableError):
    """A program that has to run has ended; the problem shows the last lines of its log."""

    title, transient = "component failed", False


class Component:
    """One program in a session of its own.

    Args:
        name: for people.
        arguments: the program and its arguments.
        log: the file that takes its output.
        environment: its whole environment.
        folder: where it runs.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.name, self.log = name, log
        self._arguments = [str(argument) for argument in arguments]
        self._environment, self._folder = dict(environment), folder
        self._process: subprocess.Popen[bytes] | None = None
        self._family: list[tuple[int, str | None]] = []
        self._told = False

    def start(self) -> None:
        """Start it.

        Raises:
            ComponentFailedError: the program cannot be started at all.
        """
        self._family = [one for one in self._family if start_time(one[0]) == one[1]]
        self._told = False
        try:
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    self._arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    cwd=self._folder,
                    start_new_session=True,
                )
        except OSError as error:
            raise ComponentFailedError(
                f"{self.name} cannot be started: {error.strerror}",
                where=self._arguments[0],
                mend="see whether it is installed beside this Python",
            ) from error

    @property
    def exit_code(self) -> int | None:
        """Its exit code, or None while it runs or before it was started."""
        return self._process.poll() if self._process else None

    def check(self) -> None:
        """Raise `ComponentFailedError` where it has ended although it should run."""
        if self.exit_code is not None:
            raise self.failure(f"ended with exit code {self.exit_code}")

    def wait(self, timeout_seconds: float) -> int:
        """Wait for its end.

        Raises:
            ComponentFailedError: it still runs after that time.
        """
        if self._process is None:
            raise self.failure("was never started")
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise self.failure(f"still runs after {timeout_seconds:.0f} s") from None

    def failure(self, what: str) -> ComponentFailedError:
        """The error that says what happened to it and shows the end of its log."""
        return ComponentFailedError(
            f"{self.name} {what}; the end of its log:\n{self.tail()}",
            where=str(self.log),
            mend="read the whole log at the path shown",
        )

    def tail(self, lines: int = SHOWN_LOG_LINES) -> str:
        """The last lines of its log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 16_384))
                text = log.read().decode("utf-8", "replace")
        except OSError:
            return "  (no log)"
        return "\n".join(f"  | {line}" for line in text.splitlines()[-lines:]) or "  (empty)"

    def tell_to_stop(self) -> None:
        """Ask it to end and do not wait; its children are noted, nobody finds them afterwards."""
        if self._process is not None and not self._told:
            self._told = True
            self._family += descendants(self._process.pid)
            if self._process.poll() is None:
                self._process.terminate()

    def stop(self, timeout_seconds: float = 8.0) -> None:
        """End it and whatever it started: politely first, and certainly."""
        process = self._process
        if process is None:
            return
        self.tell_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_seconds)
        if process.poll() is None:
            self._family += descendants(process.pid)
            process.kill()
        self._kill_family()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)

    def kill(self, *, spare_children: bool = False) -> None:
        """End it with SIGKILL, as a lack of memory or a lost machine would; `start` works again.

        Args:
            spare_children: let what it started go on without it, until `stop`.
        """
        if self._process is None:
            return
        self._family += descendants(self._process.pid)
        self._process.kill()
        if not spare_children:
            self._kill_family()
        self._process.wait(5)

    def _kill_family(self) -> None:
        for pid, started in self._family:
            if start_time(pid) == started:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)


def start_time(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks: with its id it names it for good."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def descendants(pid: int) -> list[tuple[int, str | None]]:
    """The ids and start times of all children of a process, and of theirs."""
    found: list[tuple[int, str | None]] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [(child, start_time(child)), *descendants(child)]
    return found


def wait_until_written(path: Path, component: Component, timeout_seconds: float) -> str:
    """The text of a file that a component writes when it is ready.

    Raises:
        ComponentFailedError: it ended, or wrote nothing in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while not path.exists():
        component.check()
        if time.monotonic() > deadline:
            raise component.failure(f"was not ready within {timeout_seconds:.0f} s")
        time.sleep(POLL_SECONDS)
    return path.read_text(encoding="utf-8").strip()
