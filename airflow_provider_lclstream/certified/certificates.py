"""Certificates and requests: built, written as text and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from airflow_provider_lclstream.certified.keys import (
    PrivateKey,
    PublicKey,
    signing_hash,
)
from airflow_provider_lclstream.certified.names import Kind
from lclstreamer.transport.peer import USAGES, Role

BACKDATE = timedelta(minutes=5)
"""Certificates start this much in the past: the clocks of two machines never quite agree."""


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
