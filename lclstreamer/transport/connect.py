"""Open a pushing or a pulling socket by its URL. This is what programs import.

::

    with open_pull("tcp://buffer.example.org:5000") as stream:
        for message in stream:
            work_on(message)
    if stream.end is None or stream.end.reason != "end_of_stream":
        ...  # the stream was cut short
"""

from __future__ import annotations

import os
import socket
from typing import Any

from lclstreamer.transport.inlet import PullOptions
from lclstreamer.transport.interface import PullSocket, PushSocket, StreamEnd
from lclstreamer.transport.sp_sockets import SpPullSocket, SpPushSocket
from lclstreamer.transport.url import Endpoint, parse_endpoint
from lclstreamer.transport.wire import Securing, TcpWire

__all__ = ["PullSocket", "PushSocket", "StreamEnd", "open_pull", "open_push", "own_name"]

PUSH_LIMIT_BYTES = 64 << 20
PULL_LIMIT_BYTES = 64 << 20
MAX_MESSAGE_BYTES = 8 << 30


def own_name() -> str:
    """What a socket calls itself where the program gives it no name: ``host:pid``."""
    return f"{socket.gethostname()}:{os.getpid()}"


def open_push(
    endpoint: str | Endpoint,
    *,
    listen: bool = False,
    name: str = "",
    timeout_seconds: float = 30.0,
    limit_bytes: int = PUSH_LIMIT_BYTES,
    hello: dict[str, Any] | None = None,
    securing: Securing = TcpWire,
) -> PushSocket:
    """Open a socket that sends messages.

    Args:
        endpoint: where to dial or listen.
        listen: whether pullers dial this socket instead.
        name: what peers and ledgers call this producer; by default ``host:pid``.
        timeout_seconds: how long to try dialing.
        limit_bytes: how much may wait to be sent or confirmed; a longer message is sent alone.
        hello: more facts for a buffer's ledger, e.g. ``{"rank": 3}``.
        securing: turns a connected TCP socket into a wire, e.g. by a TLS handshake.

    Raises:
        BadInputError: the URL cannot be understood.
        UnavailableError: nobody listens there, or the port is taken.
    """
    place = parse_endpoint(endpoint)
    if place.protocol == "zmq":
        from lclstreamer.transport.zmq_sockets import ZmqPushSocket

        return ZmqPushSocket(
            place, listen=listen, timeout_seconds=timeout_seconds, limit_bytes=limit_bytes
        )
    return SpPushSocket(
        place,
        listen=listen,
        name=name or own_name(),
        timeout_seconds=timeout_seconds,
        limit_bytes=limit_bytes,
        hello=hello,
        securing=securing,
    )


def open_pull(
    endpoint: str | Endpoint,
    *,
    listen: bool = False,
    name: str = "",
    timeout_seconds: float = 30.0,
    limit_bytes: int = PULL_LIMIT_BYTES,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    expected_producers: int = 1,
    securing: Securing = TcpWire,
) -> PullSocket:
    """Open a socket that receives messages.

    Args:
        endpoint: where to dial or listen.
        listen: whether pushers dial this socket instead.
        name: what peers and ledgers call this consumer; by default ``host:pid``.
        timeout_seconds: how long to try dialing.
        limit_bytes: how much may be read ahead; a longer message is read alone.
        max_message_bytes: longer messages are refused, and their producer is told.
        expected_producers: a listening socket ends when so many have come and all have left.
        securing: turns a connected TCP socket into a wire, e.g. by a TLS handshake.

    Raises:
        BadInputError: the URL cannot be understood.
        UnavailableError: nobody listens there, or the port is taken.
    """
    place = parse_endpoint(endpoint)
    if place.protocol == "zmq":
        from lclstreamer.transport.zmq_sockets import ZmqPullSocket

        return ZmqPullSocket(
            place,
            listen=listen,
            timeout_seconds=timeout_seconds,
            limit_bytes=limit_bytes,
            max_message_bytes=max_message_bytes,
            expected_producers=expected_producers,
        )
    return SpPullSocket(
        place,
        listen=listen,
        options=PullOptions(name or own_name(), max_message_bytes),
        timeout_seconds=timeout_seconds,
        limit_bytes=limit_bytes,
        expected_producers=expected_producers,
        securing=securing,
    )
