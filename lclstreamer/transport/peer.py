"""Who the other side of a connection is, read from the certificate that TLS has verified.

A `PeerIdentity` says only what the authority vouched for. Two authorities may both know an
"alice", so rights are given to `PeerIdentity.owner`, which names the authority as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lclstreamer.core.errors import BadInputError

Role = Literal["client", "server"]
"""What a certificate may be used for in a handshake."""

USAGES = {"client": ExtendedKeyUsageOID.CLIENT_AUTH, "server": ExtendedKeyUsageOID.SERVER_AUTH}
"""The extended key usage that each role needs."""

JOB_UNIT = "job"
"""The organizational unit that tells a job's certificate from others."""

PARSE_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for certificates, requests and lists that are damaged or odd."""

# The short names that RFC 4514 lacks; file names of upstream's `certified` are built from them.
_SHORT_NAMES = {
    NameOID.PSEUDONYM: "P",
    NameOID.DN_QUALIFIER: "DQ",
    NameOID.SERIAL_NUMBER: "S",
    NameOID.EMAIL_ADDRESS: "E",
    NameOID.TITLE: "T",
    NameOID.SURNAME: "SUR",
    NameOID.GIVEN_NAME: "NAME",
    NameOID.INITIALS: "IN",
    NameOID.GENERATION_QUALIFIER: "GEN",
}


def distinguished_name(name: x509.Name) -> str:
    """Write a name as RFC 4514 does, e.g. ``P=Signing Certificate,OU=psik-api,O=S3DF``."""
    return name.rfc4514_string(_SHORT_NAMES)


def serial_text(serial_number: int) -> str:
    """Write a serial number as 40 hexadecimal digits, as it stands in logs, lists and records."""
    return f"{serial_number:040x}"


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """What a verified certificate says about its holder.

    Attributes:
        subject: the distinguished name, as RFC 4514 writes it.
        issuer: the distinguished name of the authority.
        issuer_key_id: hexadecimal identifier of the authority's key; empty where none is named.
        serial: the certificate's serial number, 40 hexadecimal digits.
        fingerprint: ``sha256:`` and the hexadecimal digest of the certificate's DER.
        not_before: start of validity, UTC.
        not_after: end of validity, UTC.
        common_name: CN, or None.
        user_id: the login name (UID), or None.
        organization: O, or None.
        unit: OU, or None.
        emails: mail addresses in the subject alternative names.
        hosts: DNS names and IP addresses in the subject alternative names.
        uris: URIs in the subject alternative names.
        roles: what the certificate may be used for in a handshake.
        is_authority: whether it is an authority's certificate, which may not stand for a peer.
    """

    subject: str
    issuer: str
    issuer_key_id: str
    serial: str
    fingerprint: str
    not_before: datetime
    not_after: datetime
    common_name: str | None
    user_id: str | None
    organization: str | None
    unit: str | None
    emails: tuple[str, ...]
    hosts: tuple[str, ...]
    uris: tuple[str, ...]
    roles: frozenset[Role]
    is_authority: bool

    @property
    def principal(self) -> str:
        """The short name: ``uid:alice``, ``job:r42``, ``cn:Beamline viewer``, or the subject."""
        if self.user_id:
            return f"uid:{self.user_id}"
        if self.common_name and self.unit == JOB_UNIT:
            return f"job:{self.common_name}"
        return f"cn:{self.common_name}" if self.common_name else self.subject

    @property
    def owner(self) -> str:
        """The name to give rights to: the principal and the authority's key that vouches for it."""
        return f"{self.principal}@{self.issuer_key_id or self.issuer}"

    def seconds_left(self, now: datetime | None = None) -> float:
        """Seconds until the certificate expires; negative when it has."""
        return (self.not_after - (now or datetime.now(UTC))).total_seconds()

    def matches(self, pattern: str) -> bool:
        """Whether an allow-list entry (principal, owner, subject, fingerprint) means this peer."""
        return pattern in {self.principal, self.owner, self.subject, self.fingerprint}

    def to_json(self) -> dict[str, Any]:
        """The same facts as plain JSON values, with ``principal`` and ``owner``."""
        facts = asdict(self)
        facts["roles"] = sorted(self.roles)
        for moment in ("not_before", "not_after"):
            facts[moment] = facts[moment].isoformat()
        return {"principal": self.principal, "owner": self.owner, **facts}


def identity_of(certificate: x509.Certificate | bytes) -> PeerIdentity:
    """Read an identity from a certificate, given as an object or as DER.

    Raises:
        BadInputError: the bytes are no certificate, or one with malformed extensions.
    """
    try:
        if isinstance(certificate, bytes):
            certificate = x509.load_der_x509_certificate(certificate)
        return _read(certificate)
    except PARSE_ERRORS as error:
        raise BadInputError(
            f"the certificate cannot be read: {error}",
            mend="ask its holder for a new one; this one is damaged",
        ) from error


def _read(certificate: x509.Certificate) -> PeerIdentity:
    from cryptography.hazmat.primitives.serialization import Encoding

    extensions = {extension.oid: extension.value for extension in certificate.extensions}
    key_id = extensions.get(x509.AuthorityKeyIdentifier.oid)
    names = extensions.get(x509.SubjectAlternativeName.oid, ())
    usages = extensions.get(x509.ExtendedKeyUsage.oid, ())
    constraints = extensions.get(x509.BasicConstraints.oid)
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    return PeerIdentity(
        subject=distinguished_name(certificate.subject),
        issuer=distinguished_name(certificate.issuer),
        issuer_key_id=((getattr(key_id, "key_identifier", None) or b"").hex()),
        serial=serial_text(certificate.serial_number),
        fingerprint=f"sha256:{digest}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        common_name=_first(certificate.subject, NameOID.COMMON_NAME),
        user_id=_first(certificate.subject, NameOID.USER_ID),
        organization=_first(certificate.subject, NameOID.ORGANIZATION_NAME),
        unit=_first(certificate.subject, NameOID.ORGANIZATIONAL_UNIT_NAME),
        emails=_values(names, x509.RFC822Name),
        hosts=_values(names, x509.DNSName, x509.IPAddress),
        uris=_values(names, x509.UniformResourceIdentifier),
        roles=frozenset(role for role, usage in USAGES.items() if usage in usages),  # type: ignore[misc]
        is_authority=bool(getattr(constraints, "ca", False)),
    )


def _first(name: x509.Name, oid: x509.ObjectIdentifier) -> str | None:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else None


def _values(names: Iterable[Any], *kinds: type[x509.GeneralName]) -> tuple[str, ...]:
    return tuple(str(name.value) for name in names if isinstance(name, kinds))
