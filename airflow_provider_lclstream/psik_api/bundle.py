"""A job's results as one tar, made while it is sent: nothing is gathered in memory or on disk."""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from airflow_provider_lclstream.psik.job import JobNotFoundError
from airflow_provider_lclstream.psik_api.folders import MAX_DEPTH, opened

_PIECE_BYTES = 2**18
_BLOCK = 512
_LEFT_OUT = {errno.ELOOP, errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EACCES, errno.EPERM}


def bundle(folder: Path) -> Iterator[bytes]:
    """The work folder and the logs of a job, as the bytes of a tar.

    Left out are symbolic links, what is no file, what is closed to the service, and what lies
    deeper than `MAX_DEPTH`.
    """
    for name in ("work", "log"):
        try:
            with opened(folder, [name]) as handle:
                yield from _folder(handle, name, 1)
        except JobNotFoundError:
            continue  # a job made by other tools may lack it
    yield bytes(2 * _BLOCK)


def _folder(handle: int, path: str, depth: int) -> Iterator[bytes]:
    for name in sorted(os.listdir(handle)):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            inner = os.open(name, flags, dir_fd=handle)
        except OSError as error:
            if error.errno in _LEFT_OUT:
                continue
            raise  # better no bundle than one that lacks what could not be read just now
        try:
            facts = os.fstat(inner)
            if stat.S_ISDIR(facts.st_mode):
                if depth < MAX_DEPTH:
                    yield from _folder(inner, f"{path}/{name}", depth + 1)
            elif stat.S_ISREG(facts.st_mode):
                yield from _file(inner, f"{path}/{name}", facts)
        finally:
            os.close(inner)


def _file(handle: int, path: str, facts: os.stat_result) -> Iterator[bytes]:
    member = tarfile.TarInfo(path)
    member.size, member.mtime = facts.st_size, int(facts.st_mtime)
    member.mode = stat.S_IMODE(facts.st_mode)
    yield member.tobuf(tarfile.PAX_FORMAT)
    left = facts.st_size
    while left > 0:
        # A file that was cut meanwhile is filled up: its length has been announced.
        piece = os.read(handle, min(_PIECE_BYTES, left)) or bytes(min(_PIECE_BYTES, left))
        left -= len(piece)
        yield piece
    yield bytes(-facts.st_size % _BLOCK)
