"""Certificates and requests: built, written as text and read back."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from airflow_provider_lclstream.certified.keys import (
    PrivateKey,
    PublicKey,
    signing_hash,
    supported_public_key,
)
from airflow_provider_lclstream.certified.names import Kind
from lclstreamer.core.errors import BadInputError
from lclstreamer.transport.peer import PARSE_ERRORS, USAGES, Role

MAXIMUM_TEXT_BYTES = 64 * 1024
"""A certificate, request or introduction longer than this is refused unread."""

BACKDATE = timedelta(minutes=5)
"""Certificates start this much in the past: the clocks of two machines never quite agree."""

Proof = Literal["request", "connection", "none"]
"""How a requester proved to hold the key: signed the request, opened the connection, not at all."""


@dataclass(frozen=True)
class Grant:
    """What an authority has decided to certify. Nothing in it comes from the requester.

    Attributes:
        kind: what kind of participant this is.
        subject: the distinguished name.
        role: the one side of a connection the certificate is for.
        lifetime: how long it is to be valid; clamped to the authority's own validity.
        alternative_names: mail addresses, hosts and URIs, or None.
    """

    kind: Kind
    subject: x509.Name
    role: Role
    lifetime: timedelta
    alternative_names: x509.SubjectAlternativeName | None = None


@dataclass(frozen=True)
class KeyRequest:
    """A public key to be certified, and what its sender claims to be (never believed).

    Attributes:
        public_key: the key.
        claimed_subject: the distinguished name in the request, for people to read.
        proof: whether the request is signed by the key.
        digest: identifies this very request.
    """

    public_key: PublicKey
    claimed_subject: x509.Name
    proof: Proof
    digest: str


def build_authority(name: x509.Name, key: PrivateKey, lifetime: timedelta) -> x509.Certificate:
    """An authority's certificate, signed by itself."""
    public_key = key.public_key()
    now = datetime.now(UTC)
    return (
        _builder(name, name, public_key, now - BACKDATE, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, signing_hash(key))
    )


def build_leaf(
    grant: Grant,
    public_key: PublicKey,
    authority: x509.Certificate,
    authority_key: PrivateKey,
    *,
    revocation_url: str | None = None,
) -> x509.Certificate:
    """A participant's certificate, inside the authority's own validity."""
    now = datetime.now(UTC)
    start = max(now - BACKDATE, authority.not_valid_before_utc)
    end = min(now + grant.lifetime, authority.not_valid_after_utc)
    key_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(grant.subject, authority.subject, public_key, start, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([USAGES[grant.role]]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False
        )
    )
    if grant.alternative_names is not None:
        builder = builder.add_extension(grant.alternative_names, critical=False)
    if revocation_url is not None:
        place = x509.DistributionPoint(
            [x509.UniformResourceIdentifier(revocation_url)], None, None, None
        )
        builder = builder.add_extension(x509.CRLDistributionPoints([place]), critical=False)
    return builder.sign(authority_key, signing_hash(authority_key))


def build_list(
    authority: x509.Certificate,
    key: PrivateKey,
    number: int,
    revoked: Mapping[str, datetime],
    lifetime: timedelta,
    *,
    now: datetime | None = None,
) -> bytes:
    """A signed revocation list, as PEM: the revoked serial numbers with their moments."""
    now = now or datetime.now(UTC)
    key_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(now)
        .next_update(now + lifetime)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False
        )
    )
    for serial, moment in revoked.items():
        entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16))
        builder = builder.add_revoked_certificate(entry.revocation_date(moment).build())
    return builder.sign(key, signing_hash(key)).public_bytes(Encoding.PEM)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: PublicKey,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def build_request(subject: x509.Name, key: PrivateKey) -> x509.CertificateSigningRequest:
    """A request that proves possession of the key; its subject is a wish, not a claim to rights."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, signing_hash(key))


def read_request(data: bytes) -> KeyRequest:
    """Read a request: PEM, DER in base64url, or a certificate in either form, as upstream sends.

    Raises:
        BadInputError: it is none of these, its signature is wrong or its key is not supported.
    """
    found = _parse_request(data)
    proof: Proof = "none"
    try:
        if isinstance(found, x509.CertificateSigningRequest):
            if not found.is_signature_valid:
                raise BadInputError(
                    "the request is not signed by the key it asks a certificate for",
                    mend="make a new one with `lclstream certified request`",
                )
            proof = "request"
        key = supported_public_key(found.public_key())
        subject = found.subject
    except PARSE_ERRORS as error:
        raise _not_a_request(error) from error
    der = found.public_bytes(Encoding.DER)
    return KeyRequest(key, subject, proof, f"sha256:{hashlib.sha256(der).hexdigest()}")


def _parse_request(data: bytes) -> x509.CertificateSigningRequest | x509.Certificate:
    text = _bounded(data).strip()
    try:
        if text.startswith(b"-----BEGIN CERTIFICATE-----"):
            return x509.load_pem_x509_certificate(text)
        if text.startswith(b"-----"):
            return x509.load_pem_x509_csr(text)
        der = from_base64url(text.decode("ascii"))
    except PARSE_ERRORS as error:
        raise _not_a_request(error) from error
    for load in (x509.load_der_x509_csr, x509.load_der_x509_certificate):
        try:
            return load(der)
        except PARSE_ERRORS:
            continue
    raise _not_a_request("neither a certificate nor a request")


def _not_a_request(reason: object) -> BadInputError:
    return BadInputError(
        f"this is no request for a certificate: {reason}",
        mend="make one with `lclstream certified request`, or `certified get-ident`",
    )


def _bounded(data: bytes) -> bytes:
    if len(data) > MAXIMUM_TEXT_BYTES:
        raise BadInputError(
            f"{len(data)} bytes are too many for a certificate", mend="send one certificate alone"
        )
    return data


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
    text = _bounded(data.encode() if isinstance(data, str) else data).strip()
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
