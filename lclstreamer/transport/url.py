"""Addresses of sockets.

``tcp://host:port`` speaks nng's SP protocol, ``tls+tcp://`` the same under mutual TLS,
``zmq+tcp://`` ZeroMQ's.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Literal

from lclstreamer.core.errors import BadInputError

Protocol = Literal["nng", "zmq"]

PROTOCOL_OF_SCHEME: dict[str, Protocol] = {
    "tcp": "nng",
    "nng+tcp": "nng",
    "tls+tcp": "nng",
    "zmq+tcp": "zmq",
}
TLS_SCHEME = "tls+tcp"
_SCHEME_OF_PROTOCOL: dict[Protocol, str] = {"nng": "tcp", "zmq": "zmq+tcp"}
_EVERY_INTERFACE = {"*": "0.0.0.0"}  # noqa: S104 (ZeroMQ's spelling, if the user asks for it)
_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a socket listens or dials.

    Attributes:
        protocol: ``nng`` (SP over TCP) or ``zmq`` (ZMTP over TCP).
        host: a name or an address; IPv6 addresses without their brackets.
        port: 0 to 65535; 0 lets a listening socket choose.
        is_secure: whether both sides prove who they are (mutual TLS).
    """

    protocol: Protocol
    host: str
    port: int
    is_secure: bool = False

    def __str__(self) -> str:
        scheme = TLS_SCHEME if self.is_secure else _SCHEME_OF_PROTOCOL[self.protocol]
        return f"{scheme}://{self.address}"

    @property
    def address(self) -> str:
        """``host:port``, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def with_port(self, port: int) -> Endpoint:
        """The same place with another port."""
        return replace(self, port=port)

    def with_host(self, host: str) -> Endpoint:
        """The same port on another host."""
        return replace(self, host=host)


def parse_endpoint(text: str | Endpoint) -> Endpoint:
    """Read a URL such as ``tcp://host:5000`` or ``zmq+tcp://127.0.0.1:5001``.

    Raises:
        BadInputError: the text is not the address of a socket.
    """
    if isinstance(text, Endpoint):
        return text
    scheme, separator, rest = text.strip().partition("://")
    protocol = PROTOCOL_OF_SCHEME.get(scheme.lower()) if separator else None
    if protocol is None:
        raise BadInputError(f"{text!r} is not the URL of a socket", mend=_scheme_mend(scheme))
    host, port = _split_address(rest.rstrip("/"), text)
    return Endpoint(protocol, host, port, scheme.lower() == TLS_SCHEME)


def _scheme_mend(scheme: str) -> str:
    known = [f"{name}://host:port" for name in PROTOCOL_OF_SCHEME]
    close = difflib.get_close_matches(scheme.lower(), PROTOCOL_OF_SCHEME, n=1, cutoff=0.6)
    hint = f" (did you mean {close[0]}://?)" if close else ""
    return f"write {' or '.join(known)}{hint}"


def _split_address(address: str, text: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    is_number = port.isascii() and port.isdigit() and int(port) <= _HIGHEST_PORT
    if not colon or not host or not is_number:
        raise BadInputError(
            f"{text!r} has no host and port between 0 and {_HIGHEST_PORT}",
            mend="write for example tcp://127.0.0.1:5000",
        )
    return _EVERY_INTERFACE.get(host, host), int(port)
