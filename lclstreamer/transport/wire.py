"""A connected stream of bytes, blocking, with every wait bounded.

`Wire` is the seam for other kinds of stream: whatever has its four methods can carry messages. A
`Securing` function turns a fresh TCP socket into a wire; without one it is a plain `TcpWire`.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence
from typing import Protocol

TICK_SECONDS = 0.25
"""The longest time that a read or write blocks before its caller may look around."""
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4))


class Wire(Protocol):
    """A connected stream of bytes; one thread may read while another writes.

    Attributes:
        peer: the other side's address, for people.
    """

    peer: str

    def receive_into(self, view: memoryview, *, fill: bool = False, wait: bool = True) -> int:
        """Read what is there into ``view``; with ``fill``, preferably all of it.

        Returns:
            The number of bytes; 0 at the end of the stream; -1 if nothing came within a tick (or
            at once, without ``wait``).
        """
        ...

    def send(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Write as much of the buffers as the stream takes within a tick; 0 if nothing."""
        ...

    def finish(self) -> None:
        """Tell the other side that nothing more will be sent."""
        ...

    def wake(self) -> None:
        """Make a read that another thread is blocked in return at once."""
        ...

    def unsent_bytes(self) -> int:
        """What was written but has not yet reached the other side's host."""
        ...

    def close(self) -> None:
        """Give the stream up; never raises."""
        ...


Securing = Callable[[socket.socket], Wire]
"""Makes a wire of a connected socket, e.g. by a TLS handshake."""


class TcpWire:
    """A plain TCP connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.peer = _peer_of(connection)
        tune(connection)
        tick = struct.pack("ll", int(TICK_SECONDS), int(TICK_SECONDS % 1 * 1_000_000))
        connection.settimeout(None)  # the kernel keeps the time: one system call less per read
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tick)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, tick)

    def receive_into(self, view: memoryview, *, fill: bool = False, wait: bool = True) -> int:
        """See `Wire`."""
        flags = socket.MSG_WAITALL if fill else 0
        if not wait:
            flags = socket.MSG_DONTWAIT
        try:
            return self._socket.recv_into(view, 0, flags)
        except BlockingIOError:
            return -1

    def send(self, buffers: Sequence[bytes | memoryview]) -> int:
        """See `Wire`."""
        try:
            if len(buffers) == 1:
                return self._socket.send(buffers[0])
            return self._socket.sendmsg(buffers)
        except BlockingIOError:
            return 0

    def finish(self) -> None:
        """See `Wire`."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the other side was quicker

    def wake(self) -> None:
        """See `Wire`."""
        try:
            self._socket.shutdown(socket.SHUT_RD)
        except OSError:
            return  # it is gone already

    def unsent_bytes(self) -> int:
        """See `Wire`."""
        answer = bytearray(4)
        try:
            fcntl.ioctl(self._socket, termios.TIOCOUTQ, answer)
        except (OSError, ValueError):
            return 0  # closed
        return int.from_bytes(answer, sys.byteorder)

    def close(self) -> None:
        """See `Wire`."""
        self._socket.close()


def _peer_of(connection: socket.socket) -> str:
    try:
        host, port = connection.getpeername()[:2]
    except OSError:  # it left between connecting and now; reading will tell
        return "a peer that left"
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def tune(connection: socket.socket) -> None:
    """Set what suits large messages: no delays, and dead hosts are noticed.

    The sizes of the kernel's buffers are left to the kernel: one that was set would no longer grow
    with the delay of a wide-area link, and is cut to a few hundred KiB on hosts as installed.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def send_all(wire: Wire, data: bytes, timeout_seconds: float) -> bool:
    """Write a short frame completely; False if the time was over before."""
    view = memoryview(data)
    deadline = time.monotonic() + timeout_seconds
    while view:
        view = view[wire.send([view]) :]
        if view and time.monotonic() > deadline:
            return False
    return True


def receive_exactly(wire: Wire, count: int, timeout_seconds: float) -> bytes | None:
    """Read so many bytes; None if the stream or the time ends before."""
    data = bytearray(count)
    view, got = memoryview(data), 0
    deadline = time.monotonic() + timeout_seconds
    while got < count:
        read = wire.receive_into(view[got:])
        if read == 0 or (read < 0 and time.monotonic() > deadline):
            return None
        got += max(0, read)
    return bytes(data)
