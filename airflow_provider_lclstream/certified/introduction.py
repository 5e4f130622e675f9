"""Introductions: how an authority's certificate reaches the one it was made for.

The JSON is upstream's, ``{"signed_cert", "ca_cert", "services"}``, with two optional keys that
upstream ignores: ``renewal`` and ``revocation``, the URLs of the authority's own services.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from airflow_provider_lclstream.certified.encoding import (
    is_authority,
    read_certificate,
    read_certificate_file,
    to_base64url,
    to_pem,
)
from airflow_provider_lclstream.certified.files import make_folder, write_file
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.names import file_stem, require_alias
from airflow_provider_lclstream.certified.trust import (
    TrustedService,
    add_service,
    require_service_url,
    write_yaml,
)
from lclstreamer.core.errors import BadInputError
from lclstreamer.transport.peer import PARSE_ERRORS, distinguished_name, identity_of
from lclstreamer.transport.revocation import load_lists, why_revoked

MAXIMUM_BYTES = 1024 * 1024
"""An introduction longer than this is refused unread."""


@dataclass(frozen=True)
class Introduction:
    """A certificate, the authority that signed it, and the services that authority speaks for.

    Attributes:
        signed: the certificate.
        authority: the authority's certificate.
        services: alias to URL.
        renewal: where certificates are renewed, or None.
        revocation: where the revocation list is fetched, or None.
    """

    signed: x509.Certificate
    authority: x509.Certificate
    services: dict[str, str] = field(default_factory=dict[str, str])
    renewal: str | None = None
    revocation: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The introduction as upstream and ours read it."""
        document: dict[str, Any] = {
            "signed_cert": to_base64url(self.signed),
            "ca_cert": to_base64url(self.authority),
        }
        if self.services:
            document["services"] = dict(self.services)
        optional = {"renewal": self.renewal, "revocation": self.revocation}
        return document | {name: url for name, url in optional.items() if url}


def parse_introduction(text: str | bytes) -> Introduction:
    """Read an introduction and prove that its authority signed its certificate.

    Raises:
        BadInputError: it is damaged, or its parts do not belong together.
    """
    if len(text) > MAXIMUM_BYTES:
        raise _not_one(f"{len(text)} bytes are too many")
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_one("it is not JSON") from error
    if not isinstance(document, dict):
        raise _not_one("it is not an object")
    for name in ("signed_cert", "ca_cert"):
        if not isinstance(document.get(name), str):
            raise _not_one(f"it lacks {name!r}")
    services = document.get("services") or {}
    if not isinstance(services, dict):
        raise _not_one("its services are not an object")
    for alias, url in services.items():
        require_alias(alias)
        require_service_url(url if isinstance(url, str) else "")
    introduction = Introduction(
        read_certificate(document["signed_cert"]),
        read_certificate(document["ca_cert"]),
        dict(services),
        _url(document, "renewal", ("https://",)),
        _url(document, "revocation", ("http://", "https://")),
    )
    _require_whole(introduction)
    return introduction


def _url(document: dict[str, Any], name: str, schemes: tuple[str, ...]) -> str | None:
    value = document.get(name)
    if value is not None and not (isinstance(value, str) and value.startswith(schemes)):
        raise _not_one(f"its {name} is not a URL")
    return value


def _require_whole(introduction: Introduction) -> None:
    signed, authority = introduction.signed, introduction.authority
    if not is_authority(authority):
        raise _not_one("its 'ca_cert' is not an authority's certificate")
    if is_authority(signed):
        raise _not_one("its 'signed_cert' is an authority's certificate")
    try:
        signed.verify_directly_issued_by(authority)
    except (*PARSE_ERRORS, InvalidSignature) as error:
        raise _not_one("its 'ca_cert' did not sign its 'signed_cert'") from error


def _not_one(what: str) -> BadInputError:
    return BadInputError(
        f"this introduction cannot be used: {what}", mend="ask the authority for a new one"
    )


def install(
    folder: IdentityFolder, introduction: Introduction, *, overwrite: bool = False
) -> list[Path]:
    """Put an introduction into an identity folder; the files written.

    Raises:
        BadInputError: it is for another key, outdated, revoked, older than what is installed, or
            comes from another authority of the same name.
    """
    signed = introduction.signed
    if signed.public_key() != folder.read_key().public_key():
        raise _not_one("it is for another key than the one in this folder")
    peer = identity_of(signed)
    if peer.seconds_left() <= 0:
        raise _not_one(f"its certificate expired {peer.not_after.isoformat()}")
    lists = load_lists([folder.revoked], [introduction.authority])
    if reason := why_revoked(peer, lists, refuse_stale=False):
        raise _not_one(reason)
    stem = file_stem(introduction.authority.subject)
    target = folder.client_certificates if "client" in peer.roles else folder.server_certificates
    path = target / f"{stem}.crt"
    _require_newer(path, introduction, overwrite=overwrite)
    make_folder(target)
    write_file(path, to_pem(signed))
    written = [path]
    if introduction.renewal or introduction.revocation:
        place = folder.authorities / f"{stem}.yaml"
        write_yaml(
            place,
            {
                "cert": to_base64url(introduction.authority),
                "renewal": introduction.renewal,
                "revocation": introduction.revocation,
            },
        )
        written.append(place)
    auths = [distinguished_name(introduction.authority.subject)]
    cert = to_base64url(introduction.authority)
    for alias, url in introduction.services.items():
        service = TrustedService(url, cert, auths)
        written.append(add_service(folder, alias, service, overwrite=overwrite))
    return written


def _require_newer(path: Path, introduction: Introduction, *, overwrite: bool) -> None:
    if not path.exists() or overwrite:
        return
    installed = read_certificate_file(path)
    try:
        installed.verify_directly_issued_by(introduction.authority)
    except (*PARSE_ERRORS, InvalidSignature) as error:
        raise BadInputError(
            "a certificate by another authority of the same name is installed",
            mend="make sure which of the two is the real one; --overwrite replaces the former",
            where=str(path),
        ) from error
    if introduction.signed.not_valid_before_utc < installed.not_valid_before_utc:
        raise BadInputError(
            "this introduction is older than the certificate that is installed (a replay?)",
            mend="nothing has to be done; --overwrite goes back to the older one",
            where=str(path),
        )
