"""Running a scheduler's commands: bounded in time, here or through ssh."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO

from lclstreamer.core.errors import BadInputError, LCLStreamError, UnavailableError

TIMEOUT_SECONDS = 60.0
MAX_ANSWER_BYTES = 64 * 2**20
PASSING_TROUBLE = (
    "unable to contact",
    "connect failure",
    "connection refused",
    "timed out",
    "temporarily",
    "standby mode",
    "zero bytes were transmitted",
    "communication",
    "munge",
    "try again",
)
"""What a message holds when the same command may work in a while."""


class Commands:
    """Runs commands, each behind an optional prefix such as ``ssh host``."""

    def __init__(self, prefix: Sequence[str] = (), *, is_shell: bool = False) -> None:
        self.prefix, self.is_shell = list(prefix), is_shell

    def run(
        self,
        words: Sequence[str],
        *,
        text: str = "",
        environment: dict[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> str:
        """Run one command with a text on its input and return its output.

        Args:
            words: the command.
            text: its input.
            environment: what it finds instead of this process's; through ssh that is the other
                side's affair.
            variables: what it finds beside, also through ssh.
            timeout_seconds: how long it may take.

        Raises:
            UnavailableError: it cannot be run or answered now; later it may.
            BadInputError: it refused.
        """
        # ssh hands its words to a shell on the other side; quoting keeps them words.
        given = [f"{name}={value}" for name, value in (variables or {}).items()]
        whole = ["env", *given, *words] if given else words
        command = [*self.prefix, shlex.join(whole)] if self.is_shell else [*self.prefix, *whole]
        # What an agent or a ticket is found by is ssh's; the job gets nothing of it.
        own = None if self.is_shell else environment
        try:
            code, output, errors = _answer(command, text, own, timeout_seconds)
        except FileNotFoundError as error:
            raise UnavailableError(
                f"{command[0]} is not installed here", mend="install it, or use another backend"
            ) from error
        except OSError as error:
            raise UnavailableError(
                f"{command[0]} cannot be run: {error.strerror}", mend="look at its permissions"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                f"{words[0]} did not answer within {timeout_seconds:g} s",
                mend="check that the scheduler is up",
            ) from error
        if code == 0:
            return output
        raise self._refusal(words[0], code, errors or output)

    def _refusal(self, program: str, code: int, message: str) -> LCLStreamError:
        said = " ".join(message.split())[-1000:] or f"exit code {code}"
        # 255 is ssh's own failure, 127 a program missing on the other side for a while or for good.
        is_passing = any(mark in said.lower() for mark in PASSING_TROUBLE)
        if is_passing or (self.is_shell and code == 255):
            return UnavailableError(f"{program}: {said}", mend="it is retried automatically")
        return BadInputError(f"{program}: {said}", mend="fix the job or the backend's settings")


def _answer(
    command: Sequence[str], text: str, environment: dict[str, str] | None, timeout_seconds: float
) -> tuple[int, str, str]:
    """Exit code, output and errors of a command, once it has ended itself.

    Files take what it prints, not pipes: what it leaves running in the background (ssh with
    ``ControlPersist``) may hold those open for hours. A session of its own keeps it from asking
    for passwords on our terminal, and lets all of it be ended.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            env=environment,
            start_new_session=True,
        ) as process:
            try:
                process.communicate(text.encode(), timeout_seconds)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        return process.returncode, _text_of(output), _text_of(errors)


def _text_of(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read(MAX_ANSWER_BYTES).decode("utf-8", "replace")
