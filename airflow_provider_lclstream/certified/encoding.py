"""Certificates as text: PEM, and the base64url of introductions; written and read back."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lclstreamer.core.errors import BadInputError
from lclstreamer.transport.peer import PARSE_ERRORS

MAXIMUM_TEXT_BYTES = 64 * 1024
"""A certificate, request or introduction longer than this is refused unread."""


def to_pem(item: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """PEM text."""
    return item.public_bytes(Encoding.PEM).decode("ascii")


def to_base64url(item: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """DER in base64 with the alphabet for URLs, as introductions carry it."""
    return base64.urlsafe_b64encode(item.public_bytes(Encoding.DER)).decode("ascii")


def from_base64url(text: str) -> bytes:
    """The bytes behind base64url text.

    Raises:
        BadInputError: it holds other characters, or is cut short.
    """
    try:
        return base64.b64decode(text.strip().encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise BadInputError(
            f"this is not base64url text: {error}", mend="copy the whole text, nothing else"
        ) from error


def read_certificate(data: bytes | str) -> x509.Certificate:
    """Read one certificate from PEM or base64url text.

    Raises:
        BadInputError: it is neither.
    """
    text = bounded(data.encode() if isinstance(data, str) else data).strip()
    try:
        if text.startswith(b"-----"):
            return x509.load_pem_x509_certificate(text)
        return x509.load_der_x509_certificate(from_base64url(text.decode("ascii")))
    except PARSE_ERRORS as error:
        raise BadInputError(
            f"this is no certificate: {error}", mend="give PEM or base64url text of one"
        ) from error


def read_certificate_file(path: Path) -> x509.Certificate:
    """Read one certificate from a file.

    Raises:
        BadInputError: the file cannot be read or holds none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"the certificate cannot be read: {error.strerror}",
            mend="run `lclstream certified check`, or name the right file",
            where=str(path),
        ) from error
    return read_certificate(data)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether a certificate may sign others."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (*PARSE_ERRORS, x509.ExtensionNotFound):
        return False
    return found.value.ca


def bounded(data: bytes) -> bytes:
    """Give bytes back if they are few enough to be a certificate.

    Raises:
        BadInputError: they are too many.
    """
    if len(data) > MAXIMUM_TEXT_BYTES:
        raise BadInputError(
            f"{len(data)} bytes are too many for a certificate", mend="send one certificate alone"
        )
    return data
