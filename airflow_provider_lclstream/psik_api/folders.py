"""Files of a job: opened so that no path, however written, and no link leads out of the folder.

Each part of a path is opened relative to the one before, without following symbolic links, so what
is checked is what is opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from airflow_provider_lclstream.psik.facts import printable
from airflow_provider_lclstream.psik.job import JobNotFoundError
from lclstreamer.core.errors import BadInputError, OutputError

MAX_ENTRIES = 10_000
"""How many files a listing shows at most."""
MAX_DEPTH = 64
"""How many parts a path has at most; deeper files cannot be reached through a service."""


def parts_of(path: str, *, is_encoded: bool = False) -> list[str]:
    """The parts of a relative path; one in a form's file name may be percent-encoded as a whole.

    Raises:
        BadInputError: it is absolute, or has empty, ``.`` or ``..`` parts.
    """
    decoded = unquote(path) if is_encoded else path
    parts = decoded.split("/")
    if not decoded or "\0" in decoded or any(part in {"", ".", ".."} for part in parts):
        raise BadInputError(
            f"{path!r} is not a path inside the job", mend="give a relative path without '..'"
        )
    if any(len(part.encode()) > 255 for part in parts) or len(parts) > MAX_DEPTH:
        raise BadInputError(f"{path[:80]!r}… is too long", mend="use a shorter path")
    return parts


@contextlib.contextmanager
def opened(root: Path, parts: Iterable[str]) -> Generator[int]:
    """Open a file or folder inside ``root`` for reading; yields its descriptor.

    Raises:
        JobNotFoundError: it is not there, or only through a symbolic link.
    """
    handle = _open_folder(root)
    try:
        for part in parts:
            inner = _open_beneath(handle, part, os.O_RDONLY | os.O_NONBLOCK)
            os.close(handle)
            handle = inner
        if not stat.S_ISREG(mode := os.fstat(handle).st_mode) and not stat.S_ISDIR(mode):
            raise _not_found()
        yield handle
    finally:
        os.close(handle)


def has_file(root: Path, parts: Iterable[str]) -> bool:
    """Whether a file is inside ``root``, and not only through a symbolic link."""
    try:
        with opened(root, parts) as handle:
            return stat.S_ISREG(os.fstat(handle).st_mode)
    except (JobNotFoundError, OSError):
        return False


def listing(
    handle: int, budget: list[int] | None = None, depth: int = 1
) -> dict[str, dict[str, Any]]:
    """What a folder holds, its folders included; symbolic links are left out."""
    left = [MAX_ENTRIES] if budget is None else budget
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(os.listdir(handle)):
        try:
            facts = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except FileNotFoundError:
            continue  # the job has removed it just now
        left[0] -= 1
        if left[0] < 0:
            break
        if stat.S_ISDIR(facts.st_mode):
            with _inner(handle, name) as inner:
                is_seen = inner >= 0 and depth < MAX_DEPTH
                inside = listing(inner, left, depth + 1) if is_seen else {}
                found[printable(name)] = file_facts(facts, inside)
        elif stat.S_ISREG(facts.st_mode):
            none = False  # upstream's word
            found[printable(name)] = file_facts(facts, none)
    return found


def file_facts(facts: os.stat_result, children: dict[str, Any] | bool) -> dict[str, Any]:
    """One file as upstream's replies describe it."""
    return {
        "size": facts.st_size,
        "atime": int(facts.st_atime),
        "mtime": int(facts.st_mtime),
        "children": children,
    }


def store_file(root: Path, parts: list[str], pieces: Iterable[bytes], limit_bytes: int) -> int:
    """Write a file inside ``root``, whole or not at all; folders on the way are made.

    Raises:
        BadInputError: it is longer than the limit, or a folder has its name.
        OutputError: it cannot be written.
    """
    handle = _open_folder(root)
    try:
        for part in parts[:-1]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=handle)
            inner = _open_beneath(handle, part, os.O_RDONLY | os.O_DIRECTORY)
            os.close(handle)
            handle = inner
        return _write(handle, parts[-1], pieces, limit_bytes)
    except OSError as error:
        if error.errno in {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG}:
            raise BadInputError(
                f"{'/'.join(parts)}: {error.strerror}", mend="choose another name"
            ) from error
        raise OutputError(
            f"{'/'.join(parts)} cannot be written: {error.strerror}",
            mend="make room on the service's disk",
        ) from error
    finally:
        os.close(handle)


def read_pieces(handle: int, start: int, length: int, size: int = 2**18) -> Iterator[bytes]:
    """The bytes of an open file from ``start`` on, in pieces."""
    while length > 0:
        piece = os.pread(handle, min(size, length), start)
        if not piece:
            return
        start, length = start + len(piece), length - len(piece)
        yield piece


def _write(folder: int, name: str, pieces: Iterable[bytes], limit_bytes: int) -> int:
    temporary, written = f".{secrets.token_hex(8)}.part", 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=folder), "wb") as stream:
            for piece in pieces:
                written += len(piece)
                _require_room(written, limit_bytes)
                stream.write(piece)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise
    return written


def _require_room(written: int, limit_bytes: int) -> None:
    if written > limit_bytes:
        raise BadInputError(f"the file is longer than {limit_bytes} bytes", mend="send less")


def _open_folder(root: Path) -> int:
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise _not_found() from error


def _open_beneath(folder: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
            raise _not_found() from error
        raise


@contextlib.contextmanager
def _inner(folder: int, name: str) -> Generator[int]:
    """A folder inside another, or -1 where it went away or is closed to us meanwhile."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        yield -1
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _not_found() -> JobNotFoundError:
    return JobNotFoundError("there is no such file", mend="list the files of the job")
