"""Signed revocation lists: read, proved against trusted authorities, asked at each handshake."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from lclstreamer.core.errors import BadInputError
from lclstreamer.transport.peer import PARSE_ERRORS, PeerIdentity, distinguished_name, serial_text

logger = logging.getLogger(__name__)

MAXIMUM_LIST_BYTES = 64 * 2**20
"""A revocation list larger than this is refused unread."""


@dataclass(frozen=True)
class RevocationList:
    """One authority's list, its signature proved.

    Attributes:
        issuer: the authority's distinguished name.
        authority: the fingerprint of the authority's certificate, ``sha256:…``.
        number: counts up by one with every list of the authority; an older list is a replay.
        signed_at: when it was signed, UTC.
        next_update: until when it may be relied on, UTC.
        serials: the serial numbers that are revoked.
    """

    issuer: str
    authority: str
    number: int
    signed_at: datetime
    next_update: datetime
    serials: frozenset[str] = field(repr=False)

    def is_stale(self, now: datetime | None = None) -> bool:
        """Whether a newer list should have been fetched by now."""
        return (now or datetime.now(UTC)) > self.next_update


Lists = Mapping[str, RevocationList]
"""The newest list of each authority, by the authority's fingerprint."""


def parse_list(
    data: bytes, authorities: Iterable[x509.Certificate], *, where: str = "the revocation list"
) -> RevocationList | None:
    """Read a list in PEM or DER; None where none of the authorities signed it.

    Raises:
        BadInputError: it is no revocation list.
    """
    try:
        load = x509.load_pem_x509_crl if data.lstrip()[:5] == b"-----" else x509.load_der_x509_crl
        crl = load(data)
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        serials = frozenset(serial_text(entry.serial_number) for entry in crl)
        next_update = crl.next_update_utc
    except (*PARSE_ERRORS, x509.ExtensionNotFound) as error:
        raise BadInputError(
            f"this is no revocation list: {error}",
            mend="fetch it again from its authority",
            where=where,
        ) from error
    if next_update is None:
        raise BadInputError(
            "the revocation list does not say when the next one is due",
            mend="fetch a list that does from its authority",
            where=where,
        )
    signer = next((one for one in authorities if _signed_by(crl, one)), None)
    if signer is None:
        return None
    issuer = distinguished_name(crl.issuer)
    fingerprint = f"sha256:{signer.fingerprint(hashes.SHA256()).hex()}"
    return RevocationList(issuer, fingerprint, number, crl.last_update_utc, next_update, serials)


def _signed_by(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    if crl.issuer != authority.subject:
        return False
    try:
        return crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def load_lists(
    paths: Sequence[Path], authorities: Sequence[x509.Certificate], *, known: Lists | None = None
) -> dict[str, RevocationList]:
    """Read every ``*.crl`` in files and folders; the newest of each authority wins.

    Lists already known are kept where the files have nothing newer: a list that vanished or was
    replaced by an older one revokes no less than before.

    Raises:
        BadInputError: a file is too large or no revocation list.
    """
    trusted = {f"sha256:{one.fingerprint(hashes.SHA256()).hex()}" for one in authorities}
    found = {key: one for key, one in (known or {}).items() if key in trusted}
    for path in list_files(paths):
        if path.stat().st_size > MAXIMUM_LIST_BYTES:
            raise BadInputError("the list is too large", mend="remove it", where=str(path))
        one = parse_list(path.read_bytes(), authorities, where=str(path))
        if one is None:
            logger.debug("revocation list of an authority not trusted here: %s", path)
        elif one.authority not in found or one.number > found[one.authority].number:
            found[one.authority] = one
    return found


def list_files(paths: Sequence[Path]) -> list[Path]:
    """The files that `load_lists` reads, in a stable order."""
    files: list[Path] = []
    for path in paths:
        files += sorted(path.glob("*.crl")) if path.is_dir() else [path] if path.exists() else []
    return files


def why_revoked(peer: PeerIdentity, lists: Lists, *, refuse_stale: bool) -> str | None:
    """Why a peer must be refused according to its authority's list, or None."""
    for one in lists.values():
        if one.issuer != peer.issuer:
            continue
        if peer.serial in one.serials:
            return f"the certificate {peer.serial} of {peer.principal} is revoked"
        if refuse_stale and one.is_stale():
            return f"the revocation list of {one.issuer} expired {one.next_update.isoformat()}"
    return None
