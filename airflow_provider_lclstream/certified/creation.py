"""Making a new identity: keys, an own authority where the participant has one, certificates."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.certificates import Grant, build_authority
from airflow_provider_lclstream.certified.encoding import to_pem
from airflow_provider_lclstream.certified.files import make_folder, write_file
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.introduction import install
from airflow_provider_lclstream.certified.key_requests import build_request, read_request
from airflow_provider_lclstream.certified.keys import KeyType, generate_key, write_key
from airflow_provider_lclstream.certified.names import Kind, alternative_names, signing_name
from lclstreamer.core.errors import ConfigurationError, OutputError
from lclstreamer.transport.peer import Role

AUTHORITY_LIFETIME = timedelta(days=3650)


@dataclass(frozen=True)
class NewIdentity:
    """What to make.

    Attributes:
        kind: person, organisation, service or job. A job gets a key and no authority.
        subject: its distinguished name.
        emails: mail addresses it goes by.
        hosts: hosts it serves on; needed by organisations and services.
        uris: URIs it goes by.
        key_type: ed25519, or ecdsa on P-256.
        passphrase: encrypts the private keys where given.
    """

    kind: Kind
    subject: x509.Name
    emails: Sequence[str] = ()
    hosts: Sequence[str] = ()
    uris: Sequence[str] = ()
    key_type: KeyType = "ed25519"
    passphrase: str | None = None


def create_identity(
    folder: IdentityFolder, identity: NewIdentity, *, overwrite: bool = False
) -> Path | None:
    """Make an identity folder; the place a former identity was moved to, if there was one.

    Raises:
        ConfigurationError: an identity is there already, or a server has no host.
        OutputError: the folder cannot be written.
    """
    serves = identity.kind in {"organisation", "service"}
    if serves and not identity.hosts:
        raise ConfigurationError(
            f"a {identity.kind} needs the names its clients connect to",
            mend="add --host NAME, once for each name or address",
        )
    names = alternative_names(emails=identity.emails, hosts=identity.hosts, uris=identity.uris)
    backup = _clear(folder.path, overwrite=overwrite)
    make_folder(folder.path)
    if identity.passphrase:
        folder.passphrase = functools.cache(lambda: identity.passphrase or "")
    key = generate_key(identity.key_type)
    write_key(folder.key, key, identity.passphrase)
    for place in (folder.known_servers, folder.known_clients):
        make_folder(place)
    if identity.kind == "job":
        return backup
    authority_key = generate_key(identity.key_type)
    write_key(folder.authority_key, authority_key, identity.passphrase)
    certificate = build_authority(signing_name(identity.subject), authority_key, AUTHORITY_LIFETIME)
    for path in (
        folder.authority_certificate,
        folder.known_servers / "self.crt",
        folder.known_clients / "self.crt",
    ):
        write_file(path, to_pem(certificate))
    _certify_itself(folder, identity, names, serves=serves)
    return backup


def _certify_itself(
    folder: IdentityFolder,
    identity: NewIdentity,
    names: x509.SubjectAlternativeName | None,
    *,
    serves: bool,
) -> None:
    """A person's id.crt is for clients; a service's is for servers, with one for clients in id/."""
    authority = Authority(folder)
    request = read_request(to_pem(build_request(identity.subject, folder.read_key())).encode())
    roles: tuple[Role, ...] = ("server", "client") if serves else ("client",)
    for index, role in enumerate(roles):
        grant = Grant(
            identity.kind,
            identity.subject,
            role,
            authority.policy.lifetime(identity.kind),
            names,
        )
        introduction = authority.issue(request, grant, requested_by="init")
        if index == 0:
            write_file(folder.certificate, to_pem(introduction.signed))
        else:
            install(folder, introduction)
    authority.sign_list()


def _clear(path: Path, *, overwrite: bool) -> Path | None:
    """Make room for a new identity. A former one is moved aside, never deleted."""
    if not path.exists() or not any(path.iterdir()):
        return None
    if not overwrite:
        raise ConfigurationError(
            "an identity is in this folder already",
            mend="name another folder with --config; --overwrite moves the former one aside",
            where=str(path),
        )
    backup = path.with_name(f"{path.name}.until-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
    try:
        shutil.move(path, backup)
    except (OSError, shutil.Error) as error:
        raise OutputError(
            f"the former identity cannot be moved to {backup}: {error}",
            mend="check the permissions of the folder above it",
            where=str(path),
        ) from error
    return backup
