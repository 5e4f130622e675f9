"""Files that are whole or absent, with the permissions they are meant to have from the start."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from lclstreamer.core.errors import OutputError

SECRET_MODE, PUBLIC_MODE = 0o600, 0o644


def write_file(path: Path, content: bytes | str, *, secret: bool = False) -> None:
    """Write a file under another name, flush it to the disk, then put it in its place.

    Raises:
        OutputError: the folder is missing, not writable or full.
    """
    data = content.encode() if isinstance(content, str) else content
    mode = SECRET_MODE if secret else PUBLIC_MODE
    draft = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            f"cannot write the file: {error.strerror}",
            mend="check the folder's permissions and free space",
            where=str(path),
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may enter, and those above it.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder: {error.strerror}",
            mend="check the permissions of the folder above it, or set $LCLSTREAM_IDENTITY to a "
            "folder of your own",
            where=str(path),
        ) from error
