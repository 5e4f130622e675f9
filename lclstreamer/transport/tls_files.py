"""The files behind TLS: certificates, private keys and their permissions, and when they changed."""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lclstreamer.core.errors import ConfigurationError, PermissionDeniedError

if TYPE_CHECKING:
    from cryptography import x509

Passphrase = Callable[[], str]
"""Called for the passphrase of an encrypted key, only when one is needed."""


@dataclass(frozen=True)
class Credential:
    """A certificate and its private key, in files or in memory.

    Attributes:
        certificate: PEM file of the certificate, or the PEM text itself.
        key: PEM file of the private key, or the PEM text itself.
        passphrase: asked for an encrypted key.
    """

    certificate: Path | str
    key: Path | str = field(repr=False)
    passphrase: Passphrase | None = field(default=None, repr=False)


def read_authorities(sources: Sequence[Path | str]) -> tuple[str, list[x509.Certificate]]:
    """The PEM text and the certificates of all authorities in files, folders and texts.

    Raises:
        ConfigurationError: one cannot be read, or there is none at all.
    """
    from cryptography import x509

    texts: list[str] = []
    certificates: list[x509.Certificate] = []
    for where, read in _authority_texts(sources):
        try:
            text = read()
            certificates += x509.load_pem_x509_certificates(text.encode("ascii"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"this authority's certificate cannot be read: {error}",
                mend="replace the file by a PEM certificate, or remove it",
                where=where,
            ) from error
        texts.append(text)
    if not certificates:
        places = ", ".join(str(one) for one in sources if isinstance(one, Path)) or "no authority"
        raise ConfigurationError(
            f"nobody could be trusted: no authority's certificate in {places}",
            mend="add one with `lclstream certified add-service` or `add-client`",
        )
    return "\n".join(texts), certificates


def _authority_texts(sources: Sequence[Path | str]) -> Iterator[tuple[str, Callable[[], str]]]:
    for source in sources:
        if isinstance(source, str):
            yield "the given PEM text", lambda text=source: text
        else:
            for path in authority_files(source):
                yield str(path), path.read_text


def authority_files(source: Path) -> list[Path]:
    """The certificate files in a folder, sorted, or the file itself."""
    if source.is_dir():
        return sorted(path for path in source.iterdir() if path.suffix in {".crt", ".pem"})
    return [source]


def require_private(path: Path) -> None:
    """Refuse a private key that others can read.

    Raises:
        PermissionDeniedError: group or others may read or write it.
        ConfigurationError: it does not exist.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigurationError(
            f"the private key cannot be used: {error.strerror}",
            mend="run `lclstream certified init`, or name the right identity folder",
            where=str(path),
        ) from error
    if mode & 0o077:
        raise PermissionDeniedError(
            f"the private key can be read by others (mode {mode & 0o777:04o})",
            mend=f"run `chmod 600 {path}`; if others may have read it, make a new key",
            where=str(path),
        )


def load_credential(context: ssl.SSLContext, credential: Credential) -> None:
    """Let a context show this certificate.

    Raises:
        ConfigurationError: a file is missing or damaged, or certificate and key do not match.
        PermissionDeniedError: the private key can be read by others.
    """
    asked: list[str] = []

    def passphrase() -> str:
        asked.append("")
        # OpenSSL would ask on the terminal if it were given no function at all.
        return credential.passphrase() if credential.passphrase else ""

    with contextlib.ExitStack() as stack:
        certificate = stack.enter_context(_as_file(credential.certificate))
        if isinstance(credential.key, Path):
            require_private(credential.key)
        key = stack.enter_context(_as_file(credential.key))
        try:
            context.load_cert_chain(certificate, key, password=passphrase)
        except (ssl.SSLError, OSError, ValueError) as error:
            what = "its passphrase is wrong or missing" if asked else _reason(error)
            place = credential.certificate
            raise ConfigurationError(
                f"the certificate and its key cannot be used: {what}",
                mend="run `lclstream certified check`; it names the file that is wrong",
                where=str(place) if isinstance(place, Path) else None,
            ) from None  # the original may quote what was read


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "unreadable").lower().replace("_", " ")
    return getattr(error, "strerror", None) or type(error).__name__


@contextlib.contextmanager
def _as_file(source: Path | str) -> Generator[str]:
    """A path that OpenSSL can open; PEM text stays in memory and never touches a disk."""
    if isinstance(source, Path):
        yield str(source)
        return
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, source.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def state_of_files(
    credential: Credential | None,
    authorities: Sequence[Path | str],
    revocation_lists: Sequence[Path],
) -> tuple[Any, ...]:
    """What tells one state of all the files from another: names, inodes, sizes and times."""
    from lclstreamer.transport.revocation import list_files

    pair = (credential.certificate, credential.key) if credential else ()
    paths = [path for path in pair if isinstance(path, Path)]
    try:
        for source in authorities:
            paths += authority_files(source) if isinstance(source, Path) else []
        paths += list_files(revocation_lists)
    except OSError:
        return ("unreadable", time.monotonic())
    return tuple((str(path), *_stamp(path)) for path in paths)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return (0,)
    return (status.st_ino, status.st_size, status.st_mtime_ns)
