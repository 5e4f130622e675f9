"""An authority: decides what to certify, records it, and takes it back.

Of a request only the public key is used. Whoever calls `Authority.issue` has decided the name,
from what an operator typed, from a login on this machine or from a certificate shown on a
connection; the requester's own claims are never copied.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection

from cryptography import x509

from airflow_provider_lclstream.certified.certificates import (
    BACKDATE,
    Grant,
    build_leaf,
    build_list,
)
from airflow_provider_lclstream.certified.encoding import read_certificate, to_base64url
from airflow_provider_lclstream.certified.files import make_folder, write_file
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.introduction import Introduction
from airflow_provider_lclstream.certified.key_requests import KeyRequest
from airflow_provider_lclstream.certified.keys import (
    PrivateKey,
    fingerprint,
)
from airflow_provider_lclstream.certified.names import file_stem
from airflow_provider_lclstream.certified.policy import load_policy
from airflow_provider_lclstream.certified.record import (
    Issue,
    Record,
    find,
    insert,
    mark_revoked,
    next_number,
)
from lclstreamer.core.errors import BadInputError, ConfigurationError, PermissionDeniedError
from lclstreamer.transport.peer import PeerIdentity, identity_of

SUPERSEDED = "superseded"
"""The one reason for a revocation after which the key may be certified again."""


class Authority:
    """The authority of an identity folder."""

    def __init__(self, folder: IdentityFolder) -> None:
        self.folder = folder
        self.certificate = folder.read_authority()
        self.policy = load_policy(folder.policy)
        self.record = Record(folder.record)
        self.list_file = folder.revoked / f"{file_stem(self.certificate.subject)}.crl"

    @functools.cached_property
    def _key(self) -> PrivateKey:
        key = self.folder.read_authority_key()
        if key.public_key() != self.certificate.public_key():
            raise ConfigurationError(
                "CA.key and CA.crt do not belong together",
                mend="restore both from the same backup",
                where=str(self.folder.path),
            )
        return key

    def issue(
        self,
        request: KeyRequest,
        grant: Grant,
        *,
        requested_by: str,
        accept_unproven: bool = False,
        replace: bool = False,
        several_keys: bool = False,
        unless_revoked: str | None = None,
    ) -> Introduction:
        """Certify a key under the name that the grant decides.

        Args:
            request: whose key; nothing else of it is used.
            grant: what to certify.
            requested_by: who is responsible, for the record.
            accept_unproven: certify a key whose possession nobody proved, as upstream does.
            replace: the name moves to this key; its certificates for other keys are revoked.
            several_keys: the name may have several keys at once; only where the requester was
                just proved to be the one named, as the signer does.
            unless_revoked: the serial number of the certificate that the requester showed; it may
                have been revoked since it was looked at.

        Raises:
            PermissionDeniedError: possession is not proved, the name belongs to another key, or
                certificates of this key were revoked.
            OutputError: the record cannot be written; then nothing was issued.
        """
        if request.proof == "none" and not accept_unproven:
            raise PermissionDeniedError(
                "nothing proves that the requester holds the key",
                mend="ask for a request made with `lclstream certified request`; --unproven "
                "certifies an upstream `get-ident` all the same",
            )
        self._require_alive()
        signed = build_leaf(
            self._clamped(grant),
            request.public_key,
            self.certificate,
            self._key,
            revocation_url=self.policy.revocation_url,
        )
        issue = self._entry(signed, request, grant, requested_by)

        with self.record.transaction() as connection:
            self._require_usable_key(connection, issue)
            if find(connection, "serial = ? AND revoked_at IS NOT NULL", unless_revoked or ""):
                raise _not_renewed(unless_revoked)
            replaced = not several_keys and self._take_name(connection, issue, replace=replace)
            insert(connection, issue)
            if replaced:
                self._sign_list(connection)
        return self.introduction(signed)

    def _clamped(self, grant: Grant) -> Grant:
        limit = self.policy.lifetime(grant.kind)
        lifetime = min(grant.lifetime, limit)
        if lifetime <= timedelta(0):
            raise BadInputError("a lifetime must be positive", mend="give a longer one")
        return Grant(grant.kind, grant.subject, grant.role, lifetime, grant.alternative_names)

    def _require_alive(self) -> None:
        if self.certificate.not_valid_after_utc - BACKDATE <= datetime.now(UTC):
            raise ConfigurationError(
                "the authority's own certificate has expired",
                mend="make a new authority and introduce everybody again",
                where=str(self.folder.authority_certificate),
            )

    def _entry(
        self, signed: x509.Certificate, request: KeyRequest, grant: Grant, requested_by: str
    ) -> Issue:
        peer = identity_of(signed)
        return Issue(
            serial=peer.serial,
            principal=peer.principal,
            subject=peer.subject,
            kind=grant.kind,
            role=grant.role,
            hosts=" ".join(peer.hosts),
            key_fingerprint=fingerprint(request.public_key),
            request_digest=request.digest,
            proof=request.proof,
            requested_by=requested_by,
            issued_at=datetime.now(UTC).isoformat(),
            not_after=peer.not_after.isoformat(),
            certificate=to_base64url(signed),
        )

    def _require_usable_key(self, connection: Connection, issue: Issue) -> None:
        """Refuse a key that was given up, and a key of somebody else that nobody proved to hold."""
        same_key = find(connection, "key_fingerprint = ?", issue.key_fingerprint)
        if any(one.revoked_at and one.reason != SUPERSEDED for one in same_key):
            raise PermissionDeniedError(
                "certificates of this key were revoked; it is not certified again",
                mend="make a new key with `lclstream certified init --overwrite`",
            )
        others = [one.principal for one in same_key if one.principal != issue.principal]
        if others and issue.proof == "none":
            raise PermissionDeniedError(
                "this key is certified for somebody else, and nothing proves that you hold it",
                mend="send a request that the key has signed: `lclstream certified request`",
            )

    def _take_name(self, connection: Connection, issue: Issue, *, replace: bool) -> bool:
        """Refuse a name that another key holds, or move it; whether something was revoked."""
        same_name = find(connection, "principal = ? AND revoked_at IS NULL", issue.principal)
        others = [
            one
            for one in same_name
            if one.key_fingerprint != issue.key_fingerprint and one.status == "valid"
        ]
        if others and not replace:
            raise PermissionDeniedError(
                f"{issue.principal} is already certified for another key "
                f"(serial {others[0].serial})",
                mend="if the same participant has a new key, say --replace: the former "
                "certificates are then revoked",
            )
        for one in others:
            mark_revoked(connection, one.serial, "replaced by a new key")
        return bool(others)

    def renew(self, peer: PeerIdentity, request: KeyRequest) -> Introduction:
        """Certify the holder of a valid certificate again, under the very same names.

        Raises:
            PermissionDeniedError: the certificate is not one of ours, or no longer valid.
        """
        found = self.record.issues(serial=peer.serial)
        if (
            not found
            or found[0].status != "valid"
            or identity_of(read_certificate(found[0].certificate)).fingerprint != peer.fingerprint
        ):
            raise _not_renewed(peer.serial)
        return self.renew_issue(
            found[0],
            request,
            requested_by=f"renewal by {peer.principal}",
            unless_revoked=peer.serial,
        )

    def renew_issue(
        self,
        former: Issue,
        request: KeyRequest,
        *,
        requested_by: str,
        unless_revoked: str | None = None,
    ) -> Introduction:
        """Certify a key under the names of an earlier issue."""
        certificate = read_certificate(former.certificate)
        try:
            names = certificate.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            ).value
        except x509.ExtensionNotFound:
            names = None
        kind, role = former.kind, former.role
        grant = Grant(kind, certificate.subject, role, self.policy.lifetime(kind), names)  # type: ignore[arg-type]
        # The name is theirs already, whatever other keys it has: that is what the former one says.
        return self.issue(
            request,
            grant,
            requested_by=requested_by,
            several_keys=True,
            unless_revoked=unless_revoked,
        )

    def introduction(self, signed: x509.Certificate) -> Introduction:
        """The introduction that carries a certificate to its holder."""
        policy = self.policy
        return Introduction(
            signed, self.certificate, policy.services, policy.renewal_url, policy.revocation_url
        )

    def revoke(self, which: str, *, reason: str) -> list[Issue]:
        """Take back a certificate by serial number, or all of a principal; sign the list anew.

        Raises:
            BadInputError: nothing valid by that name was issued here.
        """
        with self.record.transaction() as connection:
            # Chosen under the lock too: a renewal just before it is taken back with the rest.
            known = find(connection, "serial = ?", which.lower())
            known = known or find(connection, "principal = ?", which)
            chosen = [one for one in known if one.revoked_at is None]
            if not chosen:
                what = "is already revoked" if known else "was not issued here"
                raise BadInputError(
                    f"{which!r} {what}", mend="`lclstream certified list` shows what was issued"
                )
            for one in chosen:
                mark_revoked(connection, one.serial, reason)
            self._sign_list(connection)
        return [self.record.issue(one.serial) for one in chosen]

    def sign_list(self) -> bytes:
        """Sign the revocation list anew, write it to its file, and give its PEM."""
        with self.record.transaction() as connection:
            return self._sign_list(connection)

    def _sign_list(self, connection: Connection) -> bytes:
        # Under the record's lock: the file never goes back to an older list, and what the record
        # calls revoked is on the list, or neither is.
        revoked = {
            one.serial: datetime.fromisoformat(one.revoked_at or one.issued_at)
            for one in find(connection, "revoked_at IS NOT NULL")
        }
        lifetime = timedelta(days=self.policy.revocation_list_days)
        number = next_number(connection, "list")
        pem = build_list(self.certificate, self._key, number, revoked, lifetime)
        make_folder(self.list_file.parent)
        write_file(self.list_file, pem)
        return pem


def _not_renewed(serial: str | None) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"the certificate {serial} cannot be renewed here",
        mend="ask the authority for a new introduction",
    )
