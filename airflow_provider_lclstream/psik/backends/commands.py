"""Running a scheduler's commands: bounded in time, here or through ssh."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence

from lclstreamer.core.errors import BadInputError, LCLStreamError, UnavailableError

TIMEOUT_SECONDS = 60.0
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
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> str:
        """Run one command with a text on its input and return its output.

        Raises:
            UnavailableError: it cannot be run or answered now; later it may.
            BadInputError: it refused.
        """
        # ssh hands its words to a shell on the other side; quoting keeps them words.
        command = [*self.prefix, shlex.join(words)] if self.is_shell else [*self.prefix, *words]
        try:
            ended = subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_seconds,
                env=dict(os.environ) if environment is None else environment,
                check=False,
            )
        except FileNotFoundError as error:
            raise UnavailableError(
                f"{command[0]} is not installed here", mend="install it, or use another backend"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                f"{words[0]} did not answer within {timeout_seconds:g} s",
                mend="look whether the scheduler is well",
            ) from error
        if ended.returncode == 0:
            return ended.stdout
        raise self._refusal(words[0], ended.returncode, ended.stderr or ended.stdout)

    def _refusal(self, program: str, code: int, message: str) -> LCLStreamError:
        said = " ".join(message.split())[-1000:] or f"exit code {code}"
        # 255 is ssh's own failure, 127 a program missing on the other side for a while or for good.
        is_passing = any(mark in said.lower() for mark in PASSING_TROUBLE)
        if is_passing or (self.is_shell and code == 255):
            return UnavailableError(f"{program}: {said}", mend="it is tried again")
        return BadInputError(f"{program}: {said}", mend="mend the job or the backend's settings")
