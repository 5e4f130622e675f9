"""TLS settings of an identity folder: what to show, whom to trust, for a server or an alias."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from airflow_provider_lclstream.certified.encoding import read_certificate_file
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.names import file_stem
from airflow_provider_lclstream.certified.trust import TrustedService, read_service
from lclstreamer.core.errors import BadInputError
from lclstreamer.transport import identity
from lclstreamer.transport.identity import first_certificate
from lclstreamer.transport.peer import distinguished_name
from lclstreamer.transport.tls import TlsSettings, client_context, server_context


class Target(NamedTuple):
    """Where a request goes.

    Attributes:
        url: the URL with the alias replaced.
        service: the trusted service behind the alias, or None.
    """

    url: str
    service: TrustedService | None


def resolve(folder: IdentityFolder, text: str) -> Target:
    """Read ``ALIAS/path``, ``https://ALIAS/path`` or ``https://host:port/path``.

    Raises:
        BadInputError: it is none of these.
    """
    url = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadInputError(
            f"{text!r} is not a URL", mend="write it like ALIAS/path or https://host:4433/path"
        ) from error
    if parts.scheme != "https" or not host:
        raise BadInputError(
            f"{text!r} is not the URL of a service",
            mend="write it like ALIAS/path or https://host:4433/path",
        )
    # Aliases are names of files: their case counts, which `hostname` would lose.
    alias = parts.netloc if port is None and "@" not in parts.netloc else ""
    service = read_service(folder, alias) if alias and ":" not in alias else None
    if service is None:
        if "://" not in text and port is None:
            raise BadInputError(
                f"no service is known by the alias {alias!r}",
                mend="`lclstream certified show` lists those known; what a facility gave you is "
                "installed with `lclstream certified add-introduction`",
            )
        return Target(url, None)
    base = urlsplit(service.url)
    path = base.path.rstrip("/") + (parts.path or "/")
    return Target(urlunsplit((base.scheme, base.netloc, path, parts.query, "")), service)


def client_settings(folder: IdentityFolder, service: TrustedService | None = None) -> TlsSettings:
    """What a client shows and trusts, for one service or for any server it knows.

    Raises:
        ConfigurationError: there is no identity, or nothing to trust.
    """
    folder.require()
    certificate = _client_certificate(folder, service.auths if service else [])
    pinned = service.authority_pem() if service else None
    return TlsSettings(
        folder.credential(certificate) if certificate else None,
        (pinned or folder.known_servers,),
        (folder.revoked,),
    )


def server_settings(
    folder: IdentityFolder, *, allowed_peers: Iterable[str] | None = None
) -> TlsSettings:
    """What a server shows and trusts.

    Raises:
        ConfigurationError: there is no identity, or none with a certificate for servers.
    """
    folder.require()
    return identity.server_settings(folder.path, ask=folder.passphrase, allowed_peers=allowed_peers)


def client_ssl_context(folder: IdentityFolder, service: TrustedService | None) -> ssl.SSLContext:
    """A context to connect to one service, or to any known server."""
    return client_context(client_settings(folder, service))


def server_ssl_context(
    folder: IdentityFolder, *, allowed_peers: Iterable[str] | None = None
) -> ssl.SSLContext:
    """A context to listen with."""
    return server_context(server_settings(folder, allowed_peers=allowed_peers))


def _client_certificate(folder: IdentityFolder, authorities: list[str]) -> Path | None:
    """The certificate to show: one of an authority that the server named, else the own one."""
    signed = sorted(folder.client_certificates.glob("*.crt"))
    for wanted in authorities:
        for path in (*signed, folder.certificate):
            if path.exists() and _is_by(path, wanted):
                found = first_certificate("client", [path])
                if found is not None:
                    return found
    own = [folder.certificate]
    if folder.is_authority:
        name = file_stem(folder.read_authority().subject)
        own.append(folder.client_certificates / f"{name}.crt")
    return first_certificate("client", own if authorities else [*own, *signed])


def _is_by(path: Path, authority: str) -> bool:
    certificate = read_certificate_file(path)
    return authority in {distinguished_name(certificate.issuer), file_stem(certificate.issuer)}
