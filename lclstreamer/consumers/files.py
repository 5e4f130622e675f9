"""Messages as files in a folder, or as a tar on a stream."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from lclstreamer.core.errors import OutputError, UsageError

NAME_FORMAT = "{index:05d}{suffix}"
"""How files are called: ``00000.h5``, ``00001.h5`` … Also known: ``{host}`` and ``{pid}``."""

SUFFIX_OF_MAGIC = (
    (b"\x89HDF\r\n\x1a\n", ".h5"),
    (b"PK\x03\x04", ".npz"),
    (b"\x93NUMPY", ".npy"),
)
"""How files of known formats begin."""
_MSGPACK_MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)


def suffix_of(message: bytes | memoryview) -> str:
    """The file suffix that fits the content; ``.bin`` where it is not known."""
    for magic, suffix in SUFFIX_OF_MAGIC:
        if bytes(message[: len(magic)]) == magic:
            return suffix
    return ".msgpack" if len(message) and message[0] in _MSGPACK_MAPS else ".bin"


def naming(name_format: str) -> Callable[[int, str], str]:
    """A function that makes file names of an index and a suffix.

    Args:
        name_format: as `NAME_FORMAT`, or with a C-like place for the index, e.g. ``%05d.h5``.

    Raises:
        UsageError: the format makes no file names, or the same one twice.
    """
    fixed = {"host": socket.gethostname(), "pid": os.getpid()}

    def name(index: int, suffix: str) -> str:
        if "%" in name_format:
            return name_format % index
        return name_format.format(index=index, suffix=suffix, **fixed)

    try:
        first, second = name(0, ".h5"), name(1, ".h5")
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _bad_format(name_format, f"({error})") from error
    if first == second or "/" in first or not first.strip("."):
        raise _bad_format(name_format, f"(the first would be {first!r}, the second {second!r})")
    return name


def _bad_format(name_format: str, why: str) -> UsageError:
    return UsageError(
        f"{name_format!r} does not make a name for each message {why}",
        mend=f"write for example {NAME_FORMAT!r} or '%05d.h5'",
    )


class Sink(Protocol):
    """Where messages go."""

    def write(self, message: memoryview) -> None:
        """Keep a message; when this returns, it is safe."""
        ...

    def close(self) -> None:
        """No more messages come."""
        ...


class Folder:
    """Each message becomes a file, which has its name only when it is complete."""

    def __init__(self, folder: Path, name_format: str = NAME_FORMAT) -> None:
        """Make the folder if it is missing.

        Raises:
            OutputError: it cannot be written, or a file of the first name is there already.
            UsageError: the format makes no file names.
        """
        self._folder = folder
        self._name = naming(name_format)
        self._index = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(folder, error) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{folder} cannot be written", mend="choose another folder")
        for _, suffix in (*SUFFIX_OF_MAGIC, (b"", ".msgpack"), (b"", ".bin")):
            if (folder / self._name(0, suffix)).exists():
                raise _taken(folder / self._name(0, suffix))

    def write(self, message: memoryview) -> None:
        """See `Sink`. A file that exists is never replaced.

        Raises:
            OutputError: the file cannot be written, or exists.
        """
        path = self._folder / self._name(self._index, suffix_of(message))
        draft = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            draft.write_bytes(message)
            _rename_to_new(draft, path)
        except FileExistsError as error:
            raise _taken(path) from error
        except OSError as error:
            raise _cannot_write(path, error) from error
        finally:
            draft.unlink(missing_ok=True)
        self._index += 1

    def close(self) -> None:
        """See `Sink`."""


def _rename_to_new(draft: Path, path: Path) -> None:
    """Give a file its name; fails if the name is taken, unlike a plain rename."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: reserve the name, then replace it
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        draft.replace(path)


def _taken(path: Path) -> OutputError:
    return OutputError(
        f"{path} is there already", mend="choose an empty folder or another --name-format"
    )


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {path}: {error.strerror or error}",
        mend="choose a folder that can be written and has room",
    )


class Tar:
    """Each message becomes a member of one tar archive."""

    def __init__(self, stream: IO[bytes], name_format: str = NAME_FORMAT) -> None:
        self._stream = stream
        self._tar = tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT)  # noqa: SIM115
        self._name = naming(name_format)
        self._index = 0

    def write(self, message: memoryview) -> None:
        """See `Sink`."""
        member = tarfile.TarInfo(self._name(self._index, suffix_of(message)))
        member.size, member.mtime = len(message), int(time.time())
        self._tar.addfile(member, io.BytesIO(message))
        self._stream.flush()
        self._index += 1

    def close(self) -> None:
        """See `Sink`."""
        self._tar.close()
        self._stream.flush()


class Nowhere:
    """Messages are counted and let go."""

    def write(self, message: memoryview) -> None:
        """See `Sink`."""

    def close(self) -> None:
        """See `Sink`."""
