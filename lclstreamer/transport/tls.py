"""Every `ssl.SSLContext` of this project: TLS 1.3, both sides verified, revocation asked.

OpenSSL verifies the chain, the dates and the usage; a check of ours then asks at each handshake
whether the certificate is revoked and, where a list of allowed peers is given, whether it is on
it. The contexts follow their files: a renewed certificate, a new authority or a new revocation
list counts for the next connection, while connections that are open stay open. Being ordinary
`ssl.SSLContext` objects they serve asyncio, uvicorn, httpx2, requests, aiohttp and plain sockets.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lclstreamer.core.errors import BadInputError, ConfigurationError, PermissionDeniedError
from lclstreamer.transport.tls_files import (
    Credential,
    load_credential,
    read_authorities,
    state_of_files,
)

if TYPE_CHECKING:
    from lclstreamer.transport.peer import PeerIdentity, Role
    from lclstreamer.transport.revocation import Lists

logger = logging.getLogger(__name__)

__all__ = [
    "Credential",
    "PeerRefusedError",
    "TlsSettings",
    "client_context",
    "peer_of",
    "server_context",
    "why_refused",
]

LOOK_AGAIN_SECONDS = 1.0
"""How long a context trusts its last look at the files."""


@dataclass(frozen=True)
class TlsSettings:
    """What a context is made from.

    Attributes:
        credential: what this side shows; None shows nothing, which only a client may do.
        authorities: PEM files, folders of ``*.crt`` and ``*.pem``, or PEM text, of the
            authorities whose certificates are accepted. Nothing else is trusted.
        revocation_lists: files, or folders of ``*.crl``.
        allowed_peers: principals, owners, subjects or fingerprints that may connect; None for all.
        refuse_stale_lists: refuse peers whose authority's revocation list has run out.
    """

    credential: Credential | None
    authorities: tuple[Path | str, ...]
    revocation_lists: tuple[Path, ...] = ()
    allowed_peers: frozenset[str] | None = None
    refuse_stale_lists: bool = False


class PeerRefusedError(ssl.SSLCertVerificationError):
    """The peer's certificate is valid, yet it may not connect; the text says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(ssl.SSL_ERROR_SSL, f"[PEER_REFUSED] {reason}")
        self.reason = reason
        self.verify_code = 50  # X509_V_ERR_APPLICATION_VERIFICATION
        self.verify_message = reason


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """A context for listening sockets; clients must show a certificate.

    Raises:
        ConfigurationError: a file is missing or damaged, or the certificate and key do not match.
        PermissionDeniedError: the private key can be read by others.
    """
    if settings.credential is None:
        raise ConfigurationError(
            "a server needs a certificate", mend="give it a credential, or run it without TLS"
        )
    return _FollowingContext(settings, server_side=True)


def client_context(settings: TlsSettings) -> ssl.SSLContext:
    """A context for connecting sockets; the server's name is always checked.

    Raises:
        ConfigurationError: a file is missing or damaged, or the certificate and key do not match.
        PermissionDeniedError: the private key can be read by others.
    """
    return _FollowingContext(settings, server_side=False)


def peer_of(connection: Any) -> PeerIdentity | None:
    """The identity at the other end of an SSLSocket or SSLObject; None where none was shown."""
    from lclstreamer.transport.peer import identity_of

    der = connection.getpeercert(binary_form=True)
    return identity_of(der) if der else None


def why_refused(context: ssl.SSLContext, peer: PeerIdentity) -> str | None:
    """Ask a context again about a peer whose connection is already open; None where it may stay."""
    if not isinstance(context, _FollowingContext):
        return None
    return context.current().why_refused(peer)


class _CheckedObject(ssl.SSLObject):
    """TLS over memory buffers, as asyncio uses it, with our check at the end of the handshake."""

    def do_handshake(self) -> None:
        super().do_handshake()
        _check(self)


class _CheckedSocket(ssl.SSLSocket):
    """TLS over a socket, with our check at the end of the handshake."""

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check(self)


def _check(connection: _CheckedObject | _CheckedSocket) -> None:
    context = connection.context
    if not isinstance(context, _VerifyingContext):
        return
    peer = None
    try:
        peer = peer_of(connection)
        reason = context.why_refused(peer) if peer else "it shows no certificate"
    except BadInputError as error:
        reason = error.problem
    if reason is not None:
        logger.warning(
            "peer refused", extra={"reason": reason, "peer": peer.principal if peer else None}
        )
        raise PeerRefusedError(reason)


class _VerifyingContext(ssl.SSLContext):
    """One reading of the files: OpenSSL's context and the facts of our own check."""

    sslobject_class = _CheckedObject
    sslsocket_class = _CheckedSocket
    peer_role: Role
    lists: Lists
    settings: TlsSettings

    def why_refused(self, peer: PeerIdentity) -> str | None:
        from lclstreamer.transport.revocation import why_revoked

        if peer.is_authority:
            return f"{peer.principal} shows an authority's own certificate"
        if self.peer_role not in peer.roles:
            return f"the certificate of {peer.principal} is not one for a {self.peer_role}"
        allowed = self.settings.allowed_peers
        if allowed is not None and not any(peer.matches(pattern) for pattern in allowed):
            return f"{peer.owner} is not among the allowed peers"
        return why_revoked(peer, self.lists, refuse_stale=self.settings.refuse_stale_lists)


class _FollowingContext(ssl.SSLContext):
    """Hands each new connection to a context made from what the files say now.

    What other libraries set on it (``verify_mode``, certificate bundles) reaches no connection,
    so that nothing can weaken the verification; only ALPN, which they need, is passed on.
    """

    def __new__(
        cls,
        settings: TlsSettings,  # noqa: ARG004 (for __init__)
        *,
        server_side: bool,
    ) -> _FollowingContext:
        return super().__new__(cls, _protocol(server_side))

    def __init__(self, settings: TlsSettings, *, server_side: bool) -> None:
        self._settings = settings
        self._server_side = server_side
        self._alpn: list[str] = []
        self._lock = threading.Lock()
        self._seen = _files_now(settings)
        self._looked = time.monotonic()
        self._current = _build(settings, {}, server_side=server_side)

    def current(self) -> _VerifyingContext:
        """The context for a connection made now."""
        if time.monotonic() - self._looked < LOOK_AGAIN_SECONDS:
            return self._current
        with self._lock:
            self._looked = time.monotonic()
            seen = _files_now(self._settings)
            if seen != self._seen:
                self._reload(seen)
            return self._current

    def _reload(self, seen: tuple[Any, ...]) -> None:
        try:
            fresh = _build(self._settings, self._current.lists, server_side=self._server_side)
        except (ConfigurationError, PermissionDeniedError, BadInputError) as error:
            # A file that is half written is whole a moment later: look again at the next one.
            logger.error(  # noqa: TRY400 (the error is expected and carries its own mend)
                "TLS files changed but cannot be used; the former ones stay",
                extra={"why": str(error)},
            )
            return
        if self._alpn:
            fresh.set_alpn_protocols(self._alpn)
        self._current, self._seen = fresh, seen
        logger.info("TLS files read again")

    def wrap_socket(self, sock: Any, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return self.current().wrap_socket(sock, *arguments, **options)

    def wrap_bio(self, incoming: Any, outgoing: Any, *args: Any, **options: Any) -> ssl.SSLObject:
        return self.current().wrap_bio(incoming, outgoing, *args, **options)

    def set_alpn_protocols(self, alpn_protocols: Any) -> None:
        self._alpn = list(alpn_protocols)
        self._current.set_alpn_protocols(self._alpn)


def _protocol(server_side: bool) -> int:
    return ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT


def _build(settings: TlsSettings, known: Lists, *, server_side: bool) -> _VerifyingContext:
    from lclstreamer.transport.revocation import load_lists

    context = _VerifyingContext(_protocol(server_side))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if server_side:
        context.num_tickets = 0  # a resumed session would skip OpenSSL's verification
    context.peer_role = "client" if server_side else "server"
    context.settings = settings
    pem, authorities = read_authorities(settings.authorities)
    context.load_verify_locations(cadata=pem)
    try:
        context.lists = load_lists(settings.revocation_lists, authorities, known=known)
    except OSError as error:
        raise ConfigurationError(
            f"a revocation list cannot be read: {error.strerror}",
            mend="make the revocation lists readable for this user",
            where=str(error.filename),
        ) from error
    if settings.credential is not None:
        load_credential(context, settings.credential)
    return context


def _files_now(settings: TlsSettings) -> tuple[Any, ...]:
    return state_of_files(settings.credential, settings.authorities, settings.revocation_lists)
