"""A wire under mutual TLS: ``tls+tcp://``.

One thread reads while another writes, which OpenSSL does not allow on one connection: the TLS
state lives in memory behind a lock that is held for computing only, never while a socket blocks.

The end of the stream is the end of the TCP stream, as on a plain wire. Somebody who cuts the
connection can fake it, so nothing relies on it: messages are complete when the ledgers agree.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence

from lclstreamer.core.errors import UnavailableError
from lclstreamer.transport.peer import PeerIdentity
from lclstreamer.transport.tls import client_context, peer_of, server_context
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.wire import Securing, TcpWire

HANDSHAKE_SECONDS = 10.0
READ_BYTES = 256 * 1024
ENCRYPT_BYTES = 256 * 1024
"""What is encrypted in one go; it bounds what a slow peer leaves in memory."""
FINISH_SECONDS = 10.0


def securing_from_identity(
    endpoint: Endpoint, *, listens: bool, allowed_peers: Iterable[str] | None = None
) -> Securing:
    """TLS with the identity folder of this environment.

    Args:
        endpoint: where to listen or dial.
        listens: which of them.
        allowed_peers: who may connect to a listening socket; None for all that are trusted.

    Raises:
        ConfigurationError: there is no identity, or none for this side of a connection.
        PermissionDeniedError: others can read its private key.
    """
    from lclstreamer.transport.identity import client_settings, default_folder, server_settings

    folder = default_folder()
    if listens:
        return secure_listener(server_context(server_settings(folder, allowed_peers=allowed_peers)))
    return secure_dialer(client_context(client_settings(folder)), endpoint.host)


def secure_listener(context: ssl.SSLContext) -> Securing:
    """Turns accepted sockets into wires whose peer has shown a certificate."""
    return lambda connection: TlsWire(connection, context, server_name=None)


def secure_dialer(context: ssl.SSLContext, server_name: str) -> Securing:
    """Turns connected sockets into wires to a server of this name.

    The wire's maker raises an `UnavailableError` at once where the server is not to be trusted:
    trying again would not help.
    """

    def make(connection: socket.socket) -> TlsWire:
        try:
            return TlsWire(connection, context, server_name=server_name)
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise UnavailableError(
                f"{server_name} is not the server that is trusted: {error.verify_message}",
                mend="check the address; `lclstream certified add-server` trusts its authority",
            ) from error

    return make


class TlsWire:
    """A TCP connection under TLS; see `wire.Wire`.

    Attributes:
        peer: the other side's address and, in brackets, who it is.
        identity: what its certificate says.
    """

    def __init__(
        self, connection: socket.socket, context: ssl.SSLContext, *, server_name: str | None
    ) -> None:
        """Shake hands, for a bounded time.

        Args:
            connection: a connected socket.
            context: whom to trust and what to show.
            server_name: what the server must be called; None on the server's side.

        Raises:
            OSError: the peer was refused, refused us, or left.
        """
        self._raw = TcpWire(connection)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_name is None,
            server_hostname=server_name,
        )
        self._state = threading.Lock()
        self._sending = threading.Lock()
        self._unsent: deque[memoryview] = deque()
        self._scratch = memoryview(bytearray(READ_BYTES))
        self._shake_hands()
        self.identity: PeerIdentity | None = peer_of(self._tls)
        who = self.identity.principal if self.identity else "nobody"
        self.peer = f"{self._raw.peer} ({who})"

    def _shake_hands(self) -> None:
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
            except OSError:
                self._flush()  # the alert that tells the peer why
                raise
            else:
                break
            if time.monotonic() > deadline:
                raise OSError(errno.ETIMEDOUT, "no TLS handshake in time")
            if not self._unsent and self._fetch(wait=True) == 0:
                raise OSError(errno.ECONNRESET, "the peer left during the TLS handshake")
        while self._flush() and time.monotonic() < deadline:
            continue

    def receive_into(self, view: memoryview, *, fill: bool = False, wait: bool = True) -> int:
        """See `Wire`."""
        got = 0
        while got < len(view):
            read = self._decrypt(view[got:])
            if read > 0:
                got += read
                continue
            if read == 0 or (got and not fill):
                break
            self._flush_if_idle()
            fetched = self._fetch(wait=wait)
            if fetched < 0:
                return got or -1
            if fetched == 0:
                break
        return got

    def _decrypt(self, view: memoryview) -> int:
        """Bytes into the view; 0 at the end of the stream, -1 if more must be fetched first."""
        with self._state:
            try:
                return self._tls.read(len(view), view)  # type: ignore[return-value]
            except ssl.SSLWantReadError:
                return -1
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return 0

    def _fetch(self, *, wait: bool) -> int:
        """Read from the socket into OpenSSL: bytes, 0 at the end, -1 if nothing came."""
        count = self._raw.receive_into(self._scratch, wait=wait)
        with self._state:
            if count > 0:
                self._incoming.write(self._scratch[:count])
        # OpenSSL is not told of the end of the stream: it would refuse to write from then on.
        return count

    def send(self, buffers: Sequence[bytes | memoryview]) -> int:
        """See `Wire`."""
        with self._sending:
            if self._flush_locked():
                return 0
            taken = 0
            with self._state:
                for buffer in buffers:
                    part = memoryview(buffer)[: ENCRYPT_BYTES - taken]
                    if part:
                        taken += self._tls.write(part)
                    if taken >= ENCRYPT_BYTES:
                        break
            self._flush_locked()
            return taken

    def _flush(self) -> int:
        with self._sending:
            return self._flush_locked()

    def _flush_if_idle(self) -> None:
        """Send what is left over, unless another thread is sending just now."""
        if self._unsent and self._sending.acquire(blocking=False):
            try:
                self._flush_locked()
            finally:
                self._sending.release()

    def _flush_locked(self) -> int:
        """Write what is encrypted; the bytes that the socket did not take within a tick."""
        with self._state:
            if self._outgoing.pending:
                self._unsent.append(memoryview(self._outgoing.read()))
        while self._unsent:
            sent = self._raw.send([self._unsent[0]])
            if sent == 0:
                break
            rest = self._unsent[0][sent:]
            if rest:
                self._unsent[0] = rest
            else:
                self._unsent.popleft()
        return sum(map(len, self._unsent))

    def finish(self) -> None:
        """See `Wire`."""
        deadline = time.monotonic() + FINISH_SECONDS
        try:
            while self._flush() and time.monotonic() < deadline:
                continue
        except OSError:
            return  # the other side was quicker
        self._raw.finish()

    def wake(self) -> None:
        """See `Wire`."""
        self._raw.wake()

    def unsent_bytes(self) -> int:
        """See `Wire`."""
        return sum(map(len, list(self._unsent))) + self._raw.unsent_bytes()

    def close(self) -> None:
        """See `Wire`."""
        self._raw.close()
