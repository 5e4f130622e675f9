"""Each message into a socket; over several urls, each message into one of them."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lclstreamer.core.errors import InternalError, LCLStreamError, UnavailableError
from lclstreamer.core.events import DeliveryReport, Message
from lclstreamer.core.units import format_bytes
from lclstreamer.parameters.handlers import BinaryDataStreamingDataHandlerParameters

if TYPE_CHECKING:
    from lclstreamer.transport.interface import PushSocket
    from lclstreamer.transport.url import Endpoint

DEFAULT_LIMIT_BYTES = 64 * 2**20
"""What may wait to be sent to one url where ``buffer`` is 0."""

TURN_SECONDS = 0.05
"""With several urls: how long a message waits for one of them before it tries the next."""


class BinaryDataStreamingDataHandler:
    """Pushes messages to one url, or deals them over several in turn.

    A url that has no room is passed over as long as another one has. One whose peer has left for
    good ends the run: what it had taken without confirming may be lost.
    """

    def __init__(
        self, parameters: BinaryDataStreamingDataHandlerParameters, rank: int, size: int
    ) -> None:
        self._parameters = parameters
        self._rank = rank
        self._size = size
        endpoints = parameters.endpoints()
        self._endpoints = (
            (endpoints[rank % len(endpoints)],) if parameters.distribute else endpoints
        )
        self._sockets: list[PushSocket] = []
        self._next = 0
        self._report = DeliveryReport("push to " + ", ".join(str(e) for e in self._endpoints))
        self._is_closed = False

    def open(self) -> None:
        """Connect to every url, or listen on it.

        Raises:
            UnavailableError: nobody listens there, or the port is taken.
        """
        deadline = time.monotonic() + self._parameters.connect_timeout_seconds
        try:
            for endpoint in self._endpoints:
                remaining = max(0.1, deadline - time.monotonic())
                self._sockets.append(self._open_one(endpoint, remaining))
        except BaseException:
            for socket in self._sockets:
                with contextlib.suppress(OSError):
                    socket.close(timeout_seconds=TURN_SECONDS)
            self._sockets = []
            raise

    def _open_one(self, endpoint: Endpoint, timeout_seconds: float) -> PushSocket:
        from lclstreamer.transport.connect import open_push

        return open_push(
            endpoint,
            listen=self._parameters.role == "server",
            name=f"lclstreamer rank {self._rank} of {self._size}",
            timeout_seconds=timeout_seconds,
            limit_bytes=self._parameters.buffer or DEFAULT_LIMIT_BYTES,
            hello={"rank": self._rank, "size": self._size},
        )

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where it dials or listens, with the ports that were chosen; known once it is open."""
        return tuple(socket.endpoint for socket in self._sockets)

    def handle(self, message: Message) -> None:
        """Queue a message for sending, waiting for room as long as ``send_timeout_seconds``.

        Raises:
            UnavailableError: nobody made room in that time.
            IncompleteStreamError: a receiver has gone.
        """
        if not self._sockets:
            raise InternalError(
                "a message was handed to a streaming handler that is not open",
                mend="call open() before handle(), and none of them after close()",
            )
        try:
            self._deal(message)
        except LCLStreamError as error:
            self._report.problems.append(error.problem)
            raise
        self._report.messages += 1
        self._report.bytes += message.size_bytes

    def _deal(self, message: Message) -> None:
        """Give the message to the first url, in turn, that has room for it."""
        count = len(self._sockets)
        timeout_seconds = self._parameters.send_timeout_seconds
        deadline = time.monotonic() + timeout_seconds
        for attempt in itertools.count():
            socket = self._sockets[self._next]
            self._next = (self._next + 1) % count
            remaining = max(0.0, deadline - time.monotonic())
            # One round without waiting, so that a slow url does not hold up the others.
            turn_seconds = 0.0 if attempt < count - 1 else TURN_SECONDS if count > 1 else remaining
            try:
                socket.send(message.payload, timeout_seconds=min(turn_seconds, remaining))
            except UnavailableError as error:
                if remaining > turn_seconds:
                    continue
                raise self._nobody_takes(message, timeout_seconds) from error
            return

    def _nobody_takes(self, message: Message, timeout_seconds: float) -> UnavailableError:
        return UnavailableError(
            f"message {message.sequence} of rank {self._rank} ({format_bytes(message.size_bytes)}) "
            f"found no receiver for {timeout_seconds:g} s",
            mend="see whether consumers are connected and keep up, or raise send_timeout_seconds",
            where=", ".join(str(endpoint) for endpoint in self._endpoints),
        )

    def close(self, *, missing: Sequence[str] = ()) -> DeliveryReport:
        """Send the rest, tell the end and what is missing, wait for confirmation, and report."""
        if self._is_closed:
            return self._report
        self._is_closed = True
        linger_seconds = self._parameters.linger / 1000
        allowed = linger_seconds if linger_seconds > 0 else self._parameters.close_timeout_seconds
        deadline = time.monotonic() + allowed
        reports = [
            socket.close(
                timeout_seconds=max(TURN_SECONDS, deadline - time.monotonic()),
                missing=[*self._report.problems, *missing],
            )
            for socket in self._sockets
        ]
        self._sockets = []
        confirmed = [report.confirmed_messages for report in reports]
        if reports and all(count is not None for count in confirmed):
            self._report.confirmed_messages = sum(count or 0 for count in confirmed)
        self._report.problems += [problem for report in reports for problem in report.problems]
        return self._report
