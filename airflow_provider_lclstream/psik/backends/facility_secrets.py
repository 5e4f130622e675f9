"""The secrets that facilities ask for: in files of mode 0600, sent over TLS only, not logged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from lclstreamer.core.errors import ConfigurationError

MAX_SECRET_CHARACTERS = 65536


class Tokens(Protocol):
    """Where bearer tokens come from."""

    def current(self) -> str:
        """The token to use now."""
        ...

    def renewed(self) -> str:
        """The token to use after the current one was refused."""
        ...


class TokenFile:
    """A token in a file of mode 0600, read each time: it may be replaced while jobs run."""

    def __init__(self, path: str) -> None:
        self.path = path

    def current(self) -> str:
        """What the file holds."""
        return read_secret(self.path)

    renewed = current


def checked_url(url: str) -> str:
    """A base URL without its last slash. Tokens travel over plain HTTP on loopback only.

    Raises:
        ConfigurationError: it is no HTTP URL, or an open one to another machine.
    """
    parts = urlsplit(url)
    is_here = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and is_here)):
        raise ConfigurationError(
            f"{url!r} is not a URL that a token may be sent to", mend="give one with https://"
        )
    return url.rstrip("/")


def read_secret(path: str) -> str:
    """Read a secret from a file that only its owner can read.

    Raises:
        ConfigurationError: it is not there, open to others, or empty.
    """
    place = Path(path).expanduser()
    try:
        with place.open(encoding="utf-8") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(MAX_SECRET_CHARACTERS).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"cannot read the secret: {error}", where=path, mend="write it there, with mode 0600"
        ) from error
    if mode & 0o077:
        raise ConfigurationError(
            "other users can read the secret", where=path, mend=f"chmod 600 {path}"
        )
    if not text:
        raise ConfigurationError("the secret is empty", where=path, mend="write it there")
    return text
