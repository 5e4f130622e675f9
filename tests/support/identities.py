"""Identities for tests: folders made by the code under test, forged parts made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.certificates import Grant
from airflow_provider_lclstream.certified.creation import NewIdentity, create_identity
from airflow_provider_lclstream.certified.encoding import to_base64url, to_pem
from airflow_provider_lclstream.certified.files import write_file
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.introduction import Introduction, install
from airflow_provider_lclstream.certified.key_requests import build_request, read_request
from airflow_provider_lclstream.certified.keys import write_key
from airflow_provider_lclstream.certified.names import (
    job_name,
    organisation_name,
    person_name,
    service_name,
)
from airflow_provider_lclstream.certified.trust import TrustedService, add_service

LOOPBACK = "127.0.0.1"


def person(path: Path, user_id: str, **options) -> IdentityFolder:
    """A person's fresh identity."""
    return _create(path, NewIdentity("person", person_name(user_id.title(), user_id), **options))


def service(path: Path, name: str = "psik", hosts: Sequence[str] = (LOOPBACK,), **options):
    """A service's fresh identity on loopback."""
    return _create(path, NewIdentity("service", service_name(name), hosts=hosts, **options))


def organisation(path: Path, unit: str = "psik-api", hosts: Sequence[str] = (LOOPBACK,)):
    """An organisation's fresh identity on loopback."""
    return _create(path, NewIdentity("organisation", organisation_name("S3DF", unit), hosts=hosts))


def job(path: Path) -> IdentityFolder:
    """A job's fresh identity: a key and nothing else."""
    return _create(path, NewIdentity("job", job_name("r42")))


def _create(path: Path, identity: NewIdentity) -> IdentityFolder:
    folder = IdentityFolder(path)
    create_identity(folder, identity)
    return folder


def request_of(folder: IdentityFolder, subject: x509.Name | None = None):
    """A request signed by a folder's key, claiming whatever is wanted."""
    name = subject or person_name("anybody")
    return read_request(to_pem(build_request(name, folder.read_key())).encode())


def introduce(
    authority: IdentityFolder,
    client: IdentityFolder,
    user_id: str,
    *,
    alias: str | None = None,
    url: str | None = None,
    days: float = 30,
) -> Introduction:
    """The authority certifies the client's key as a person; the client installs it."""
    grant = Grant("person", person_name(user_id, user_id), "client", timedelta(days=days))
    introduction = Authority(authority).issue(request_of(client), grant, requested_by="test")
    install(client, introduction)
    if alias and url:
        service_entry = TrustedService(
            url, to_base64url(authority.read_authority()), [stem_of(authority)]
        )
        add_service(client, alias, service_entry)
    return introduction


def stem_of(authority: IdentityFolder) -> str:
    """The distinguished name of an authority, as services name those they accept."""
    from lclstreamer.transport.peer import distinguished_name

    return distinguished_name(authority.read_authority().subject)


def forge(
    authority: IdentityFolder,
    subject: x509.Name,
    *,
    key: ed25519.Ed25519PrivateKey,
    roles: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH,),
    hosts: Sequence[x509.GeneralName] = (),
    start_seconds: float = -60,
    end_seconds: float = 3600,
    is_authority: bool = False,
    issuer: x509.Certificate | None = None,
    signer: ed25519.Ed25519PrivateKey | None = None,
) -> x509.Certificate:
    """A certificate our own authority would never make, signed with its real key."""
    issuer = issuer or authority.read_authority()
    signer = signer or authority.read_authority_key()
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(seconds=start_seconds))
        .not_valid_after(now + timedelta(seconds=end_seconds))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if roles:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(roles)), critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(hosts)), critical=False)
    return builder.sign(signer, None)


def use_forged(
    folder: IdentityFolder, certificate: x509.Certificate, key: ed25519.Ed25519PrivateKey
) -> IdentityFolder:
    """Let a folder show a forged certificate, as client and as server."""
    write_key(folder.key, key)
    write_file(folder.certificate, to_pem(certificate))
    for place in (folder.client_certificates, folder.server_certificates):
        for path in place.glob("*.crt"):
            path.unlink()
    return folder


__all__ = [
    "LOOPBACK",
    "forge",
    "introduce",
    "job",
    "organisation",
    "person",
    "replace",
    "request_of",
    "service",
    "stem_of",
    "use_forged",
]
