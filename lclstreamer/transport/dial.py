"""Connects to a listening socket, under TLS where its URL asks for it."""

from __future__ import annotations

import errno
import os
import socket
import time

from lclstreamer.core.errors import UnavailableError
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.wire import Securing, TcpWire, Wire

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5


def dial(endpoint: Endpoint, timeout_seconds: float, securing: Securing = TcpWire) -> Wire:
    """Connect to a listening socket, trying again until the time is over.

    Raises:
        UnavailableError: nobody listens there.
    """
    securing = securing_for(endpoint, securing, listens=False)
    deadline = time.monotonic() + timeout_seconds
    pause = _FIRST_PAUSE_SECONDS
    while True:
        left = max(0.1, deadline - time.monotonic())
        try:
            connection = socket.create_connection((endpoint.host, endpoint.port), left)
            if connection.getsockname() != connection.getpeername():
                return securing(connection)
            connection.close()  # dialing a free local port can meet itself
            reason = os.strerror(errno.ECONNREFUSED)
        except OSError as error:
            reason = error.strerror or str(error)
        left = deadline - time.monotonic()
        if left <= 0:
            raise UnavailableError(
                f"cannot connect to {endpoint} within {timeout_seconds:g} s: {reason}",
                mend="check the address and that the other side is running",
            )
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def securing_for(endpoint: Endpoint, securing: Securing, *, listens: bool) -> Securing:
    """What makes wires for an endpoint: what the program gave, else TLS where the URL asks for it.

    Raises:
        ConfigurationError: TLS is asked for and there is no identity for it.
        PermissionDeniedError: others can read the identity's private key.
    """
    if not endpoint.is_secure or securing is not TcpWire:
        return securing
    from lclstreamer.transport.tls_wire import securing_from_identity

    return securing_from_identity(endpoint, listens=listens)
