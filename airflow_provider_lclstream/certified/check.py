"""What is wrong with an identity folder, each finding with its mend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509

from airflow_provider_lclstream.certified.encoding import read_certificate_file
from airflow_provider_lclstream.certified.findings import Finding, expiry_finding
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.policy import load_policy
from airflow_provider_lclstream.certified.revocation_follower import followed_authorities
from airflow_provider_lclstream.certified.trust import read_service, service_names
from lclstreamer.core.errors import LCLStreamError
from lclstreamer.transport.peer import distinguished_name, identity_of
from lclstreamer.transport.revocation import Lists, list_files, parse_list, why_revoked
from lclstreamer.transport.tls_files import authority_files


def check(folder: IdentityFolder) -> list[Finding]:
    """Everything that is wrong, the keys first."""
    if not folder.key.exists():
        return [
            Finding(
                "error",
                str(folder.path),
                "there is no identity in this folder",
                "make one with `lclstream certified init`",
            )
        ]
    findings = [*_keys(folder)]
    lists, list_findings = _lists(folder)
    for path in folder.certificates():
        findings += _certificate(path, folder, lists)
    findings += _authority(folder)
    findings += list_findings
    findings += _trust(folder)
    return findings


def _keys(folder: IdentityFolder) -> Iterator[Finding]:
    for path, read in (
        (folder.key, folder.read_key),
        (folder.authority_key, folder.read_authority_key),
    ):
        if not path.exists():
            continue
        try:
            read()
        except LCLStreamError as error:
            yield Finding("error", str(path), error.problem, error.mend)
    if folder.path.stat().st_mode & 0o022:
        yield Finding(
            "error",
            str(folder.path),
            "others can write into the identity folder",
            f"run `chmod 700 {folder.path}`",
        )


def _certificate(path: Path, folder: IdentityFolder, lists: Lists) -> Iterator[Finding]:
    try:
        certificate = read_certificate_file(path)
        peer = identity_of(certificate)
    except LCLStreamError as error:
        yield Finding("error", str(path), error.problem, error.mend)
        return
    try:
        if certificate.public_key() != folder.read_key().public_key():
            yield Finding(
                "error",
                str(path),
                "the certificate is not for the key in this folder",
                "ask its authority for a new introduction, or restore the key from a backup",
            )
    except LCLStreamError:
        pass  # told by the check of the keys
    if finding := expiry_finding(path, peer):
        yield finding
    if reason := why_revoked(peer, lists, refuse_stale=False):
        yield Finding(
            "error",
            str(path),
            reason,
            "make a new key with `lclstream certified init --overwrite` and be introduced again",
        )


def _authority(folder: IdentityFolder) -> Iterator[Finding]:
    if not folder.authority_certificate.exists():
        return
    path = folder.authority_certificate
    try:
        certificate = read_certificate_file(path)
        load_policy(folder.policy)
        if folder.is_authority and (
            folder.read_authority_key().public_key() != certificate.public_key()
        ):
            yield Finding(
                "error", str(path), "CA.key and CA.crt do not belong together",
                "restore both from the same backup",
            )  # fmt: skip
        if finding := expiry_finding(path, identity_of(certificate)):
            mend = "make a new authority in good time and introduce everybody again"
            yield Finding(finding.level, finding.where, finding.problem, mend)
    except LCLStreamError as error:
        yield Finding("error", error.where or str(path), error.problem, error.mend)
    if folder.record.exists() and folder.record.stat().st_mode & 0o077:
        yield Finding(
            "warning",
            str(folder.record),
            "others can read the record of issues",
            f"run `chmod 600 {folder.record}`",
        )


def _lists(folder: IdentityFolder) -> tuple[Lists, list[Finding]]:
    authorities = list(_authorities(folder))
    found: dict[str, Any] = {}
    findings: list[Finding] = []
    for path in list_files([folder.revoked]):
        mend = "fetch it again with `lclstream certified refresh`"
        try:
            one = parse_list(path.read_bytes(), authorities, where=str(path))
        except (LCLStreamError, OSError) as error:
            findings.append(Finding("error", str(path), str(error), mend))
            continue
        if one is None:
            continue
        found[one.authority] = one
        if one.is_stale():
            what = f"the revocation list of {one.issuer} ran out {one.next_update:%Y-%m-%d}"
            findings.append(Finding("warning", str(path), what, mend))
    return found, findings


def _authorities(folder: IdentityFolder) -> Iterator[x509.Certificate]:
    """Every authority this folder knows: its own, those it trusts, those of its certificates."""
    try:
        for followed in followed_authorities(folder):
            yield followed.certificate
    except LCLStreamError:
        pass
    places = [folder.known_clients, folder.known_servers, folder.authority_certificate]
    for path in (file for place in places if place.exists() for file in authority_files(place)):
        try:
            yield read_certificate_file(path)
        except LCLStreamError:
            continue  # told by the check of trust


def _trust(folder: IdentityFolder) -> Iterator[Finding]:
    for place in (folder.known_clients, folder.known_servers):
        for path in authority_files(place) if place.is_dir() else ():
            try:
                authority = read_certificate_file(path)
                finding = expiry_finding(path, identity_of(authority))
            except LCLStreamError as error:
                yield Finding("error", str(path), error.problem, "replace or remove the file")
                continue
            if finding:
                mend = "ask it for its new certificate, then remove this file"
                yield Finding(finding.level, finding.where, finding.problem, mend)
    for alias in service_names(folder):
        yield from _service(folder, alias)


def _service(folder: IdentityFolder, alias: str) -> Iterator[Finding]:
    where = str(folder.known_servers / f"{alias}.yaml")
    try:
        service = read_service(folder, alias)
    except LCLStreamError as error:
        yield Finding("error", where, error.problem, error.mend)
        return
    if service is None or not service.auths:
        return
    mine = {_issuer(path) for path in folder.certificates()}
    if not mine & set(service.auths):
        yield Finding(
            "warning",
            where,
            f"no certificate here is by an authority that {alias!r} is said to accept",
            "ask one of them for an introduction: " + "; ".join(service.auths),
        )


def _issuer(path: Path) -> str | None:
    try:
        return distinguished_name(read_certificate_file(path).issuer)
    except LCLStreamError:
        return None
