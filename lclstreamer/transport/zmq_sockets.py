"""Pushing and pulling sockets that speak ZeroMQ's protocol."""

from __future__ import annotations

import threading

from lclstreamer.transport.pull import QueuedPullSocket
from lclstreamer.transport.push import QueuedPushSocket
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.zmq_inlet import ZmqInlet
from lclstreamer.transport.zmq_outlet import ZmqOutlet


class ZmqPushSocket(QueuedPushSocket):
    """A pushing socket of ZeroMQ. Its reports confirm nothing: ZeroMQ's pullers cannot."""

    def __init__(
        self, endpoint: Endpoint, *, listen: bool, timeout_seconds: float, limit_bytes: int
    ) -> None:
        """Dial (trying until the time is over) or listen; see `connect.open_push`."""
        super().__init__(endpoint, listen=listen, limit_bytes=limit_bytes)
        outlet = ZmqOutlet(endpoint, self._queue, listen=listen, limit_bytes=limit_bytes)
        self.endpoint = outlet.endpoint
        thread = threading.Thread(
            target=outlet.run,
            args=(self.came, self.went),
            kwargs={"timeout_seconds": timeout_seconds},
            name="push",
            daemon=True,
        )
        thread.start()
        self._await_first(thread, timeout_seconds)


class ZmqPullSocket(QueuedPullSocket):
    """A pulling socket of ZeroMQ. Its streams end by disconnection: nobody says it was the end."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        listen: bool,
        timeout_seconds: float,
        limit_bytes: int,
        max_message_bytes: int,
        expected_producers: int = 1,
    ) -> None:
        """Dial (trying until the time is over) or listen; see `connect.open_pull`."""
        super().__init__(endpoint, limit_bytes=limit_bytes, expected_producers=1)
        inlet = ZmqInlet(
            endpoint,
            self._pool,
            self._queue,
            listen=listen,
            max_message_bytes=max_message_bytes,
            ends_after=expected_producers if listen else 1,
        )
        self.endpoint = inlet.endpoint
        thread = threading.Thread(
            target=inlet.run,
            args=(self.came, self.went),
            kwargs={"timeout_seconds": timeout_seconds},
            name="pull",
            daemon=True,
        )
        thread.start()
        self._await_first(thread, timeout_seconds)
