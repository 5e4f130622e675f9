"""Renewal: the same names for the same key, before the certificate expires."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.clients import explain, http_client
from airflow_provider_lclstream.certified.contexts import Target
from airflow_provider_lclstream.certified.encoding import (
    read_certificate_file,
    to_base64url,
    to_pem,
)
from airflow_provider_lclstream.certified.files import write_file
from airflow_provider_lclstream.certified.findings import expiry_finding
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.introduction import install, parse_introduction
from airflow_provider_lclstream.certified.key_requests import build_request, read_request
from airflow_provider_lclstream.certified.trust import read_yaml
from lclstreamer.core.errors import BadInputError, PermissionDeniedError, UnavailableError
from lclstreamer.transport.peer import PeerIdentity, distinguished_name, identity_of
from lclstreamer.transport.tls import TlsSettings, client_context


@dataclass(frozen=True)
class Renewed:
    """One certificate that was renewed.

    Attributes:
        path: its file.
        former_serial: the serial number it had.
        peer: what the new one says.
    """

    path: Path
    former_serial: str
    peer: PeerIdentity


def renew(folder: IdentityFolder, *, only_due: bool = False) -> list[Renewed]:
    """Renew this identity's certificates, all of them or those that expire soon.

    Those of the own authority are made here; others are asked for where their authority said it
    renews. Certificates whose authority renews nothing are left alone.

    Raises:
        BadInputError: the own authority did not issue the own certificate.
        UnavailableError: an authority cannot be reached.
        PermissionDeniedError: an authority refuses.
    """
    done: list[Renewed] = []
    for path in folder.certificates():
        former = identity_of(read_certificate_file(path))
        if only_due and expiry_finding(path, former) is None:
            continue
        if _is_own(folder, former):
            done.append(_renew_here(folder, path, former))
        elif url := _renewal_url(folder, path):
            done.append(_renew_there(folder, path, former, url))
    return done


def _is_own(folder: IdentityFolder, peer: PeerIdentity) -> bool:
    if not folder.is_authority:
        return False
    return peer.issuer == distinguished_name(folder.read_authority().subject)


def _request(folder: IdentityFolder, path: Path) -> str:
    subject = read_certificate_file(path).subject
    return to_pem(build_request(subject, folder.read_key()))


def _renew_here(folder: IdentityFolder, path: Path, former: PeerIdentity) -> Renewed:
    authority = Authority(folder)
    found = authority.record.issues(serial=former.serial)
    if not found:
        raise BadInputError(
            "the own authority has no record of this certificate (was it made by upstream?)",
            mend="make a new identity with `lclstream certified init --overwrite`",
            where=str(path),
        )
    request = read_request(_request(folder, path).encode())
    fresh = authority.renew_issue(found[0], request, requested_by="renewal")
    write_file(path, to_pem(fresh.signed))
    return Renewed(path, former.serial, identity_of(fresh.signed))


def _renewal_url(folder: IdentityFolder, path: Path) -> str | None:
    place = folder.authorities / f"{path.stem}.yaml"
    url = read_yaml(place).get("renewal") if place.exists() else None
    return url if isinstance(url, str) else None


def _renew_there(folder: IdentityFolder, path: Path, former: PeerIdentity, url: str) -> Renewed:
    import httpx2

    pinned = str(read_yaml(folder.authorities / f"{path.stem}.yaml").get("cert"))
    context = client_context(_settings(folder, path, pinned))
    target = Target(f"{url.rstrip('/')}/renew", None)
    try:
        with http_client(context) as client:
            reply = client.post(target.url, content=_request(folder, path))
            body = reply.read()
    except httpx2.HTTPError as error:
        raise explain(error, target) from error
    if reply.status_code in {400, 403}:
        raise PermissionDeniedError(
            f"the authority refuses to renew: {body[:500].decode(errors='replace')}",
            mend="ask it for a new introduction",
            where=target.url,
        )
    if reply.status_code != 200:
        raise UnavailableError(
            f"the authority answered {reply.status_code}",
            mend="try again later, or tell its people",
            where=target.url,
        )
    introduction = parse_introduction(body)
    if to_base64url(introduction.authority) != pinned:
        raise PermissionDeniedError(
            "the reply is by another authority than the one that was asked",
            mend="tell its people; nothing was changed here",
            where=target.url,
        )
    install(folder, introduction)
    return Renewed(path, former.serial, identity_of(introduction.signed))


def _settings(folder: IdentityFolder, path: Path, pinned: str) -> TlsSettings:
    from airflow_provider_lclstream.certified.encoding import read_certificate

    authority = to_pem(read_certificate(pinned))
    return TlsSettings(folder.credential(path), (authority,), (folder.revoked,))
