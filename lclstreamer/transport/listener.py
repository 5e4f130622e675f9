"""Accepts connections, each served by a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable

from lclstreamer.core.errors import UnavailableError
from lclstreamer.transport.dial import securing_for
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.wire import TICK_SECONDS, Securing, TcpWire, Wire

logger = logging.getLogger(__name__)
_BACKLOG = 1024

CONNECTIONS_LIMIT = 4096
"""More peers than this at a time are turned away."""


class Listener:
    """A listening TCP socket.

    Attributes:
        endpoint: where it listens, with the port that was chosen.
        refused: how many connections were refused before they said a word (by TLS).
    """

    def __init__(
        self, endpoint: Endpoint, serve: Callable[[Wire], None], *, securing: Securing = TcpWire
    ) -> None:
        """Begin to listen; connections are accepted after `start`.

        Args:
            endpoint: where; port 0 has one chosen.
            serve: called in a thread of its own with every connection, until that ends.
            securing: turns a connected socket into a wire.
        """
        self._securing = securing_for(endpoint, securing, listens=True)
        self._socket = listen(endpoint)
        self._socket.settimeout(TICK_SECONDS)
        self.endpoint = endpoint.with_port(self._socket.getsockname()[1])
        self.refused = 0
        self._serve = serve
        self._is_closed = False
        self._threads: set[threading.Thread] = set()
        self._thread = threading.Thread(target=self._accept, name="listener", daemon=True)

    def start(self) -> None:
        """Accept connections from now on."""
        self._thread.start()

    def close(self) -> None:
        """Accept no more; connections that are open go on."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        if self._thread.is_alive():
            self._thread.join(4 * TICK_SECONDS)
        self._socket.close()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if self._is_closed:
                    return
                logger.warning("cannot accept on %s: %s", self.endpoint, error)
                time.sleep(TICK_SECONDS)  # e.g. too many open files: it may pass
                continue
            self._threads = {thread for thread in self._threads if thread.is_alive()}
            if len(self._threads) >= CONNECTIONS_LIMIT:
                logger.warning("%s has %d connections", self.endpoint, CONNECTIONS_LIMIT)
                connection.close()
                continue
            thread = threading.Thread(
                target=self._connected, args=(connection,), name="connection", daemon=True
            )
            self._threads.add(thread)
            thread.start()

    def _connected(self, connection: socket.socket) -> None:
        try:
            wire = self._securing(connection)
        except OSError as error:
            self.refused += 1
            logger.warning("refused a connection to %s: %s", self.endpoint, error)
            connection.close()
            return
        self._serve(wire)


def listen(endpoint: Endpoint) -> socket.socket:
    """A listening socket at this address.

    Raises:
        UnavailableError: the port is in use, or the address is not of this machine.
    """
    try:
        family = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _cannot_listen(endpoint, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((endpoint.host, endpoint.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_listen(endpoint, error) from error
    return listener


def _cannot_listen(endpoint: Endpoint, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"cannot listen on {endpoint}: {error.strerror or error}",
        mend="choose a free port of this machine, or port 0 to have one chosen",
    )
