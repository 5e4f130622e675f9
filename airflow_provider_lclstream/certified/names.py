"""Names in certificates: subjects by kind of participant, hosts, and what may be a file name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from cryptography import x509
from cryptography.x509.oid import NameOID

from lclstreamer.core.errors import BadInputError
from lclstreamer.transport.peer import JOB_UNIT, distinguished_name

Kind = Literal["person", "organisation", "service", "job"]
"""What kind of participant a certificate names."""

SIGNING_PSEUDONYM = "Signing Certificate"
"""Tells an authority's name from its owner's own, as upstream does."""

_LOGIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\$?")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


def person_name(name: str, user_id: str | None = None) -> x509.Name:
    """The subject of a person: CN and, where given, UID (the login name)."""
    parts = [(NameOID.COMMON_NAME, name)]
    if user_id is not None:
        parts.append((NameOID.USER_ID, require_login_name(user_id)))
    return _name(parts)


def organisation_name(organisation: str, unit: str) -> x509.Name:
    """The subject of an organisation: O and OU."""
    return _name(
        [
            (NameOID.ORGANIZATION_NAME, organisation),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        ]
    )


def service_name(name: str) -> x509.Name:
    """The subject of a service: CN."""
    return _name([(NameOID.COMMON_NAME, name)])


def job_name(name: str) -> x509.Name:
    """The subject of a job: OU ``job`` and CN."""
    return _name(
        [
            (NameOID.ORGANIZATIONAL_UNIT_NAME, JOB_UNIT),
            (NameOID.COMMON_NAME, name),
        ]
    )


def signing_name(name: x509.Name) -> x509.Name:
    """The subject of a participant's own authority."""
    return x509.Name([*name, x509.NameAttribute(NameOID.PSEUDONYM, SIGNING_PSEUDONYM)])


def _name(parts: Iterable[tuple[x509.ObjectIdentifier, str]]) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])
    except ValueError as error:
        raise BadInputError(
            f"this name cannot stand in a certificate: {error}",
            mend="use 1 to 64 characters for each part of the name",
        ) from error


def require_login_name(text: str) -> str:
    """Give a login name back if it is one.

    Raises:
        BadInputError: it holds characters that no login name has.
    """
    if not _LOGIN_NAME.fullmatch(text):
        raise BadInputError(
            f"{text!r} is not a login name", mend="use letters, digits, '_', '.' and '-'"
        )
    return text


def require_alias(text: str) -> str:
    """Give a service's alias back if it may be one; it becomes a file name.

    Raises:
        BadInputError: it holds other characters than letters, digits, dots, dashes, underscores.
    """
    if not _ALIAS.fullmatch(text):
        raise BadInputError(
            f"{text!r} cannot be the alias of a service",
            mend="use letters, digits, '.', '_' and '-', at most 64 of them",
        )
    return text


def alternative_names(
    *, emails: Sequence[str] = (), hosts: Sequence[str] = (), uris: Sequence[str] = ()
) -> x509.SubjectAlternativeName | None:
    """The subject alternative names, or None where there are none.

    Raises:
        BadInputError: one of them is malformed.
    """
    names: list[x509.GeneralName] = []
    try:
        names += [x509.RFC822Name(email) for email in emails if _has_at(email)]
        names += [host_name(host) for host in hosts]
        names += [x509.UniformResourceIdentifier(uri) for uri in uris]
    except ValueError as error:
        raise BadInputError(
            f"this alternative name is malformed: {error}", mend="write it in ASCII"
        ) from error
    return x509.SubjectAlternativeName(names) if names else None


def _has_at(email: str) -> bool:
    if email.count("@") != 1:
        raise BadInputError(f"{email!r} is not a mail address", mend="write it as name@domain")
    return True


def host_name(text: str) -> x509.DNSName | x509.IPAddress:
    """A host as it stands in a certificate: an IP address, a DNS name or ``*.`` and a DNS name.

    Raises:
        BadInputError: it is neither.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        ascii_text = text.lower().removeprefix("*.").encode("idna").decode()
    except UnicodeError:
        ascii_text = ""
    labels = ascii_text.split(".")
    if not all(_HOST_LABEL.fullmatch(label) for label in labels) or (
        text.startswith("*.") and len(labels) < 2
    ):
        raise BadInputError(
            f"{text!r} is not the name or address of a host",
            mend="give a name such as data.example.org or an IP address, without a port",
        )
    return x509.DNSName(f"*.{ascii_text}" if text.startswith("*.") else ascii_text)


def file_stem(name: x509.Name) -> str:
    """A distinguished name as a file name, as upstream writes it where that is safe.

    Raises:
        BadInputError: the name is empty or too long for a file.
    """
    text = distinguished_name(name).replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    if not text or len(text.encode()) > 200:
        raise BadInputError(
            f"an authority named {text[:60]!r} cannot be kept in a file",
            mend="ask the authority for a certificate with a name of 1 to 200 bytes",
        )
    return text
