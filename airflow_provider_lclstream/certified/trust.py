"""Whom this identity trusts: services by alias, and authorities of clients and servers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from airflow_provider_lclstream.certified.encoding import is_authority, read_certificate, to_pem
from airflow_provider_lclstream.certified.files import make_folder, write_file
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.names import require_alias
from lclstreamer.core.errors import BadInputError, ConfigurationError


@dataclass(frozen=True)
class TrustedService:
    """A service under its alias: ``known_servers/<alias>.yaml``.

    Attributes:
        url: where it listens, ``https://host:port`` and perhaps a path.
        cert: base64url DER of the authority whose certificate it shows; None trusts the
            authorities in ``known_servers``.
        auths: distinguished names of the authorities whose client certificates it accepts.
    """

    url: str
    cert: str | None = None
    auths: list[str] = field(default_factory=list[str])

    def authority_pem(self) -> str | None:
        """PEM of the pinned authority, or None."""
        return to_pem(read_certificate(self.cert)) if self.cert else None


def require_service_url(url: str) -> str:
    """Give a service's URL back if it is one.

    Raises:
        BadInputError: it is not ``https://host[:port][/path]``.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme == "https" and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        sound, parts = False, None
    if not sound or parts is None or parts.query or parts.fragment or parts.username:
        raise BadInputError(
            f"{url!r} is not the URL of a service", mend="write it like https://host:4433"
        )
    return url


def read_service(folder: IdentityFolder, alias: str) -> TrustedService | None:
    """The service behind an alias, or None.

    Raises:
        ConfigurationError: its file is damaged.
    """
    path = folder.known_servers / f"{require_alias(alias)}.yaml"
    if not path.exists():
        return None
    content = read_yaml(path)
    url, cert, auths = content.get("url"), content.get("cert"), content.get("auths") or []
    if (
        not isinstance(url, str)
        or not isinstance(cert, str | None)
        or not isinstance(auths, list)
        or not all(isinstance(one, str) for one in auths)
    ):
        raise _damaged(path, "it needs url, cert and auths")
    return TrustedService(require_service_url(url), cert, auths)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a small YAML mapping.

    Raises:
        ConfigurationError: it cannot be read or is none.
    """
    from lclstreamer.core.config_file import parse_document

    try:
        content = parse_document(path.read_text(encoding="utf-8"), name=str(path)).data
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, "it cannot be read") from error
    if not isinstance(content, dict):
        raise _damaged(path, "it is not a mapping")
    return content


def _damaged(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"this file cannot be used: {what}",
        mend="remove it and add the service again with `lclstream certified add-service`",
        where=str(path),
    )


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Write a small YAML mapping, whole or not at all."""
    import yaml

    make_folder(path.parent)
    write_file(path, yaml.safe_dump(content))


def add_service(
    folder: IdentityFolder, alias: str, service: TrustedService, *, overwrite: bool = False
) -> Path:
    """Remember a service under an alias.

    Raises:
        BadInputError: the alias is taken by another service, or alias or URL are malformed.
    """
    require_service_url(service.url)
    known = read_service(folder, alias)
    path = folder.known_servers / f"{alias}.yaml"
    if known is not None and known != service and not overwrite:
        raise BadInputError(
            f"the alias {alias!r} already means {known.url}",
            mend="choose another alias, or say --overwrite if you want to replace it",
            where=str(path),
        )
    write_yaml(path, asdict(service))
    return path


def trust_authority(
    folder: Path, name: str, certificate: x509.Certificate, *, overwrite: bool = False
) -> Path:
    """Trust an authority for clients (``known_clients``) or for servers (``known_servers``).

    Raises:
        BadInputError: the certificate is not an authority's, or the name is taken by another.
    """
    if not is_authority(certificate):
        raise BadInputError(
            "this is the certificate of one participant, not of an authority",
            mend="ask for the authority's: `lclstream certified export --authority`",
        )
    path = folder / f"{require_alias(name)}.crt"
    pem = to_pem(certificate)
    taken = path.exists() and path.read_text(encoding="ascii", errors="replace") != pem
    if taken and not overwrite:
        raise BadInputError(
            f"another authority is already trusted under the name {name!r}",
            mend="choose another name, or say --overwrite if you want to replace it",
            where=str(path),
        )
    make_folder(folder)
    write_file(path, pem)
    return path


def service_names(folder: IdentityFolder) -> list[str]:
    """The aliases known here."""
    if not folder.known_servers.is_dir():
        return []
    return sorted(path.stem for path in folder.known_servers.glob("*.yaml"))
