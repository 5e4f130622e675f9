"""Each message in a file of its own, complete or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lclstreamer.core.errors import OutputError
from lclstreamer.core.events import DeliveryReport, Message
from lclstreamer.core.units import format_bytes
from lclstreamer.parameters.handlers import BinaryFileWritingDataHandlerParameters

_MENDS = {
    errno.ENOSPC: "free space there, or set write_directory to another file system",
    errno.EDQUOT: "free space within your quota, or set write_directory to another file system",
    errno.EROFS: "set write_directory to a file system that can be written",
    errno.EACCES: "set write_directory to a folder that you may write",
    errno.EPERM: "set write_directory to a folder that you may write",
    errno.ENOTDIR: "set write_directory to a folder; a part of this path is a file",
    errno.EEXIST: "set write_directory to a folder; this is a file",
    errno.ENAMETOOLONG: "choose a shorter file_prefix or write_directory",
}
_OTHER_MEND = "set write_directory to a folder that can be written"


class BinaryFileWritingDataHandler:
    """Writes ``<prefix_>r<rank>_<number>.<suffix>``, first under a hidden temporary name."""

    def __init__(
        self, parameters: BinaryFileWritingDataHandlerParameters, rank: int, size: int
    ) -> None:
        del size
        self._parameters = parameters
        self._rank = rank
        # A relative folder means where the program was started, whatever happens later.
        self._folder = parameters.write_directory.expanduser().absolute()
        self._report = DeliveryReport(f"files in {self._folder}", confirmed_messages=0)

    def open(self) -> None:
        """Make the folder and prove that it can be written.

        Raises:
            OutputError: it cannot.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Permission bits say little on network file systems and nothing to root: try it.
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".lclstreamer-probe-"):
                pass
        except OSError as error:
            raise _output_error(error, self._folder, "write into the folder") from error

    def handle(self, message: Message) -> None:
        """Write one file.

        Raises:
            OutputError: it cannot be written; nothing is left of it.
        """
        path = self._folder / self.name_of(message)
        partial = path.with_name(f".{path.name}.part")
        try:
            self._write(partial, message)
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            action = f"write message {message.sequence} ({format_bytes(message.size_bytes)})"
            failure = _output_error(error, path, action)
            self._report.problems.append(failure.problem)
            raise failure from error
        self._report.messages += 1
        self._report.bytes += message.size_bytes
        self._report.confirmed_messages = self._report.messages

    def _write(self, path: Path, message: Message) -> None:
        # Unbuffered: a buffer would copy the payload and could fail only when it is closed.
        with path.open("wb", buffering=0) as file:
            rest = memoryview(message.payload).cast("B")
            while rest:
                rest = rest[file.write(rest) :]
            if self._parameters.sync_to_disk:
                os.fsync(file.fileno())

    def name_of(self, message: Message) -> str:
        """The name of the file for a message."""
        parameters = self._parameters
        return f"{parameters.name_prefix}r{self._rank}_{message.sequence}.{parameters.file_suffix}"

    def close(self, *, missing: Sequence[str] = ()) -> DeliveryReport:
        """Report; every file is already under its name, and there is nobody to tell the rest."""
        del missing
        if self._parameters.sync_to_disk and self._report.messages:
            self._sync_names()
        return self._report

    def _sync_names(self) -> None:
        try:
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._report.problems.append(
                f"the names in {self._folder} are not certain to survive a crash: {error.strerror}"
            )


def _output_error(error: OSError, path: Path, action: str) -> OutputError:
    reason = error.strerror or type(error).__name__
    mend = _MENDS.get(error.errno or 0, _OTHER_MEND)
    return OutputError(f"cannot {action}: {reason}", mend=mend, where=str(path))
