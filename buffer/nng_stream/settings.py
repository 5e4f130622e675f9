"""The settings of one buffer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.units import parse_bytes, parse_duration
from lclstreamer.parameters.base import StrictModel
from lclstreamer.transport.url import Endpoint, parse_endpoint

HIGHEST_PORT = 65_535


def _size(value: Any) -> Any:
    try:
        return parse_bytes(value) if isinstance(value, str) else value
    except BadInputError as error:
        raise ValueError(f"{error.problem}; {error.mend}") from error


def _duration(value: Any) -> Any:
    try:
        return parse_duration(value) if isinstance(value, str) else value
    except BadInputError as error:
        raise ValueError(f"{error.problem}; {error.mend}") from error


def _url(value: str) -> str:
    try:
        parse_endpoint(value)
    except BadInputError as error:
        raise ValueError(f"{error.problem}; {error.mend}") from error
    return value


def _ports(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    first, dash, last = value.partition("-")
    if not (first.strip().isdigit() and (last or first).strip().isdigit()):
        raise ValueError(f"{value!r} is not a range of ports; write for example 30001-34000")
    return (int(first), int(last if dash else first))


Size = Annotated[int, BeforeValidator(_size), Field(ge=1, le=2**50)]
Seconds = Annotated[float, BeforeValidator(_duration), Field(gt=0, le=31 * 86_400)]
Pattern = Annotated[str, Field(min_length=1, max_length=500)]
Port = Annotated[int, Field(ge=0, le=HIGHEST_PORT)]


class BufferSettings(StrictModel):
    """What a buffer is told when it starts. Durations are seconds or texts such as ``10m``."""

    directory: Path = Path()
    """Where ``endpoints.json`` and, at the end, ``ledger.json`` are written; made if missing."""

    name: str = "nng-stream"
    """What the buffer calls itself to its peers."""

    limit_bytes: Size = 1 << 30
    """How much may be held in memory, in bytes or as ``256 MiB``: what is queued and what
    consumers have not acknowledged. A longer message is let through alone."""

    max_message_bytes: Size = 8 << 30
    """Longer messages are refused, and their producer is told."""

    expected_producers: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """When so many producers have ended, the stream has; 0 waits until it is drained."""

    expected_consumers: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """The buffer does not end before so many consumers have come, so that late ones hear of the
    end; 0 lets it end without any, if nothing came."""

    inlets: tuple[Annotated[str, BeforeValidator(_url)], ...] = ()
    """Where to listen for producers; by default one port for nng's protocol and one for
    ZeroMQ's, on `host`."""

    outlets: tuple[Annotated[str, BeforeValidator(_url)], ...] = ()
    """Where to listen for consumers; by default as for `inlets`."""

    host: str = "127.0.0.1"
    """The address to listen on where no URLs are given. Others reach only what is not loopback:
    there is no encryption on these ports."""

    published_host: str = ""
    """The name that is published instead of `host`; by default this machine's own name where
    `host` stands for every interface."""

    allowed: tuple[Pattern, ...] = ()
    """Who may connect, of those whose certificates are trusted: ``uid:alice``, ``cn:Some service``,
    ``job:r42``, one of these with ``@`` and the authority's key, a whole subject, or a fingerprint.
    By default all of them. Only where every port is ``tls+tcp://``."""

    allowed_producers: tuple[Pattern, ...] = ()
    """The same for the inlets alone, beside `allowed`."""

    allowed_consumers: tuple[Pattern, ...] = ()
    """The same for the outlets alone, beside `allowed`."""

    port_range: Annotated[tuple[Port, Port], BeforeValidator(_ports)] | None = None
    """Ports are chosen free in this range, e.g. ``30001-34000``; by default by the system."""

    admin_port: Port = 0
    """The port of the HTTP interface on loopback; 0 has one chosen."""

    start_timeout_seconds: Seconds = 3600.0
    """How long to wait for the first producer."""

    idle_timeout_seconds: Seconds = 1800.0
    """How long nothing may move, while the stream has not ended."""

    drain_timeout_seconds: Seconds = 600.0
    """How long nothing may move while the rest is delivered."""

    consumer_timeout_seconds: Seconds | None = None
    """A consumer that acknowledges nothing for so long, while it has messages, is taken for hung:
    it is disconnected and another gets them. It must be longer than any consumer works on a
    message. By default consumers may take as long as they like."""

    stop_timeout_seconds: Seconds = 10.0
    """How long delivering the rest may take after SIGTERM."""

    @model_validator(mode="after")
    def _is_possible(self) -> BufferSettings:
        if self.port_range and self.port_range[0] > self.port_range[1]:
            raise ValueError("port_range must go from the lower to the higher port")
        for key, patterns, endpoints in (
            ("inlets", self.inlet_peers(), self.inlet_endpoints()),
            ("outlets", self.outlet_peers(), self.outlet_endpoints()),
        ):
            open_port = next((e for e in endpoints if not e.is_secure), None)
            if patterns is not None and open_port is not None:
                raise ValueError(
                    f"{key}: only some may connect, but at {open_port} nobody shows who he is; "
                    f"give {key} as tls+tcp:// URLs alone, e.g. tls+tcp://{self.host}:0"
                )
        return self

    def inlet_peers(self) -> frozenset[str] | None:
        """Which producers may connect; None for all that are trusted."""
        return frozenset(self.allowed + self.allowed_producers) or None

    def outlet_peers(self) -> frozenset[str] | None:
        """Which consumers may connect; None for all that are trusted."""
        return frozenset(self.allowed + self.allowed_consumers) or None

    def inlet_endpoints(self) -> list[Endpoint]:
        """Where producers may come."""
        return self._endpoints(self.inlets)

    def outlet_endpoints(self) -> list[Endpoint]:
        """Where consumers may come."""
        return self._endpoints(self.outlets)

    def _endpoints(self, urls: tuple[str, ...]) -> list[Endpoint]:
        if urls:
            return [parse_endpoint(url) for url in urls]
        return [Endpoint("nng", self.host, 0), Endpoint("zmq", self.host, 0)]
