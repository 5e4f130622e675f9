"""One side of a buffer: the ports of one direction, and the peers that came to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from lclstreamer.transport.listener import Listener
from lclstreamer.transport.records import PeerRecord
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.wire import Securing, TcpWire, Wire
from nng_stream.places import open_on_free_port


class Connection(Protocol):
    """One peer's connection, served by `run`."""

    record: PeerRecord

    def run(self, on_start: Callable[[Any], None], on_end: Callable[[Any], None]) -> None:
        """Serve it to its end."""
        ...

    def abort(self) -> None:
        """Stop at once."""
        ...


class ZmqPart(Connection, Protocol):
    """A ZeroMQ socket with all of its peers."""

    endpoint: Endpoint

    @property
    def peers_seen(self) -> int:
        """How many peers have ever connected."""
        ...

    @property
    def peers_left(self) -> int:
        """How many of them have left."""
        ...


SpKind = TypeVar("SpKind", bound=Connection)
ZmqKind = TypeVar("ZmqKind", bound=ZmqPart)


@dataclass(frozen=True, slots=True)
class Census:
    """How many peers have ever come, and how many of them have left."""

    seen: int
    left: int

    @property
    def connected(self) -> int:
        """How many are here."""
        return self.seen - self.left


class Side(Generic[SpKind, ZmqKind]):
    """Every listening port of one direction.

    Attributes:
        endpoints: where it listens.
    """

    def __init__(
        self,
        places: Iterable[Endpoint],
        ports: tuple[int, int] | None,
        make_sp: Callable[[Wire], SpKind],
        make_zmq: Callable[[Endpoint], ZmqKind],
        allowed: frozenset[str] | None = None,
    ) -> None:
        """Listen everywhere; peers are served after `start`.

        Args:
            places: where to listen.
            ports: the range that ports are chosen from where a place has none.
            make_sp: serves a connection that speaks nng's protocol.
            make_zmq: listens for ZeroMQ peers.
            allowed: who may connect, where the places are secure; None for all that are trusted.

        Raises:
            UnavailableError: a port is taken.
            ConfigurationError: a place is secure and there is no identity for it.
        """
        self.endpoints: list[Endpoint] = []
        self._make_sp = make_sp
        self._allowed = allowed
        self._lock = threading.Lock()
        self._came: list[SpKind] = []
        self._left = 0
        self._is_closed = False
        self._listeners: list[Listener] = []
        self._zmq: list[ZmqKind] = []
        self._zmq_threads: list[threading.Thread] = []
        for place in places:
            if place.protocol == "zmq":
                part = open_on_free_port(make_zmq, place, ports)
                self._zmq.append(part)
                self.endpoints.append(part.endpoint)
            else:
                listener = open_on_free_port(self._listen, place, ports)
                self._listeners.append(listener)
                self.endpoints.append(listener.endpoint)

    def _listen(self, place: Endpoint) -> Listener:
        securing: Securing = TcpWire
        if place.is_secure:
            from lclstreamer.transport.tls_wire import securing_from_identity

            securing = securing_from_identity(place, listens=True, allowed_peers=self._allowed)
        return Listener(
            place,
            lambda wire: self._make_sp(wire).run(self._note_came, self._note_left),
            securing=securing,
        )

    @property
    def refused(self) -> int:
        """How many connections were refused, because TLS did not come about or by our list."""
        return sum(listener.refused for listener in self._listeners)

    def _note_came(self, peer: SpKind) -> None:
        with self._lock:
            self._came.append(peer)
            came_too_late = self._is_closed
        if came_too_late:  # it was greeting when the others were told to end
            peer.abort()

    def _note_left(self, _peer: SpKind) -> None:
        with self._lock:
            self._left += 1

    def start(self) -> None:
        """Accept peers from now on."""
        for listener in self._listeners:
            listener.start()
        for part in self._zmq:
            thread = threading.Thread(
                target=part.run, args=(_nothing, _nothing), name="zmq", daemon=True
            )
            self._zmq_threads.append(thread)
            thread.start()

    @property
    def peers(self) -> list[SpKind | ZmqKind]:
        """Every connection that there was, and every ZeroMQ socket."""
        with self._lock:
            return [*self._came, *self._zmq]

    @property
    def census(self) -> Census:
        """How many peers there are."""
        with self._lock:
            seen, left = len(self._came), self._left
        return Census(
            seen + sum(part.peers_seen for part in self._zmq),
            left + sum(part.peers_left for part in self._zmq),
        )

    def records(self) -> list[PeerRecord]:
        """Every peer that has come; ZeroMQ's of one endpoint together."""
        with self._lock:
            records = [peer.record for peer in self._came]
        return records + [part.record for part in self._zmq if part.peers_seen]

    @property
    def is_done(self) -> bool:
        """Whether every connection has ended."""
        with self._lock:
            is_any_open = self._left < len(self._came)
        return not is_any_open and not any(thread.is_alive() for thread in self._zmq_threads)

    def close(self) -> None:
        """Accept no more peers."""
        with self._lock:
            self._is_closed = True
        for listener in self._listeners:
            listener.close()

    def abort(self) -> None:
        """Stop at once."""
        self.close()
        for peer in self.peers:
            peer.abort()


def _nothing(_peer: object) -> None:
    """ZeroMQ sockets are known from the start."""
