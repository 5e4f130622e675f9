"""Who is connected to a ZeroMQ socket, by the socket's own monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lclstreamer.core.errors import UnavailableError
from lclstreamer.transport.url import Endpoint

if TYPE_CHECKING:
    import zmq

COPY_BELOW_BYTES = 1 << 16
"""Shorter messages are copied into and out of ZeroMQ: that costs less than sharing memory."""


def make_socket(context: zmq.Context[zmq.Socket[bytes]], kind: int, high_water: int) -> ZmqSocket:
    """A socket with a monitor, and with short queues: the bound in bytes is ours, not ZeroMQ's."""
    import zmq

    made = context.socket(kind)
    made.set(zmq.SNDHWM if kind == zmq.PUSH else zmq.RCVHWM, high_water)
    made.set(zmq.LINGER, 0)
    made.set(zmq.IPV6, 1)
    made.set(zmq.TCP_KEEPALIVE, 1)
    made.set(zmq.TCP_KEEPALIVE_IDLE, 15)
    made.set(zmq.TCP_KEEPALIVE_INTVL, 5)
    made.set(zmq.TCP_KEEPALIVE_CNT, 4)
    return ZmqSocket(made)


class ZmqSocket:
    """A ZeroMQ socket and the peers that its monitor has seen. For one thread at a time.

    Attributes:
        socket: ZeroMQ's own.
        connected: peers that are connected.
        seen: peers that have ever been.
        left: peers that have left.
    """

    def __init__(self, made: zmq.Socket[bytes]) -> None:
        import zmq

        self.socket = made
        self.connected = 0
        self.seen = 0
        self._failed = 0
        failures = (
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        )
        self._failures = failures
        self._monitor = made.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | failures
        )
        self._poller = zmq.Poller()
        self._poller.register(self._monitor, zmq.POLLIN)

    @property
    def left(self) -> int:
        """Peers that have left."""
        return self.seen - self.connected

    def place(self, endpoint: Endpoint, *, listen: bool) -> Endpoint:
        """Listen or begin to dial; returns the endpoint with the port that was chosen.

        Raises:
            UnavailableError: it cannot listen there.
        """
        import zmq

        address = f"tcp://{endpoint.address if endpoint.port else endpoint.address[:-1] + '*'}"
        if not listen:
            self.socket.connect(address)
            return endpoint
        try:
            self.socket.bind(address)
        except zmq.ZMQError as error:
            self.close()  # whoever made it gets no object on which to call it
            self.socket.context.term()
            raise UnavailableError(
                f"cannot listen on {endpoint}: {error.strerror}",
                mend="choose a free port of this machine, or port 0 to have one chosen",
            ) from error
        bound = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return endpoint.with_port(int(bound.rpartition(":")[2]))

    def await_events(self, timeout_seconds: float, *events: int) -> bool:
        """Wait until the socket is ready for one of the events, or a peer comes or leaves.

        Returns:
            Whether the socket is ready.
        """
        import zmq

        wanted = sum(events)
        if wanted:
            self._poller.register(self.socket, wanted)
        ready = dict(self._poller.poll(int(timeout_seconds * 1000)))
        if wanted:
            self._poller.unregister(self.socket)
        if self._monitor in ready:
            self._take_events()
        return bool(ready.get(self.socket, 0) & (zmq.POLLIN | zmq.POLLOUT))

    def _take_events(self) -> None:
        import zmq
        from zmq.utils.monitor import parse_monitor_message

        while self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart())["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.seen += 1
                self.connected += 1
            elif event & self._failures:
                self._failed += 1  # its disconnection follows
            elif self._failed:
                self._failed -= 1
            elif self.connected:
                self.connected -= 1

    def close(self, linger_seconds: float = 0.0) -> None:
        """Close; what is unsent is still sent for so long, while the context is terminated."""
        self.socket.disable_monitor()
        self._monitor.close(0)
        self.socket.close(int(linger_seconds * 1000))
