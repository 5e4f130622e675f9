"""Pushing and pulling sockets that speak nng's protocol."""

from __future__ import annotations

import threading
from typing import Any

from lclstreamer.transport.dial import dial
from lclstreamer.transport.inlet import Inlet, PullOptions
from lclstreamer.transport.listener import Listener
from lclstreamer.transport.outlet import Outlet, PushOptions
from lclstreamer.transport.pull import QueuedPullSocket
from lclstreamer.transport.push import QueuedPushSocket
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.window import AdaptiveWindow, Everything
from lclstreamer.transport.wire import Securing, TcpWire, Wire

WINDOWS_PER_BOUND = 4
"""One consumer may hold this fraction of the memory unacknowledged."""


class SpPushSocket(QueuedPushSocket):
    """A pushing socket that speaks nng's protocol."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        listen: bool,
        name: str,
        timeout_seconds: float,
        limit_bytes: int,
        hello: dict[str, Any] | None = None,
        securing: Securing = TcpWire,
    ) -> None:
        """Dial (trying until the time is over) or listen; see `connect.open_push`."""
        super().__init__(endpoint, listen=listen, limit_bytes=limit_bytes)
        window_bytes = limit_bytes // WINDOWS_PER_BOUND
        self._options = PushOptions(
            name,
            (lambda: AdaptiveWindow(window_bytes)) if listen else Everything,
            hello=hello or {},
            summary=lambda: {"missing": self._missing} if self._missing else {},
        )
        self._listener: Listener | None = None
        if listen:
            self._listener = Listener(endpoint, self._serve, securing=securing)
            self.endpoint = self._listener.endpoint
            self._listener.start()
            return
        wire = dial(endpoint, timeout_seconds, securing)
        thread = threading.Thread(target=self._serve, args=(wire,), name="push", daemon=True)
        thread.start()
        self._await_first(thread, timeout_seconds)

    def _serve(self, wire: Wire) -> None:
        outlet = Outlet(wire, self._queue, self._options)
        outlet.run(self._came_with_limit, self.went)
        with self._changed:
            self._changed.notify_all()

    def _came_with_limit(self, outlet: Outlet) -> None:
        if not self._is_listening:
            self._max_message_bytes = outlet.max_message_bytes
        self.came(outlet)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()


class SpPullSocket(QueuedPullSocket):
    """A pulling socket that speaks nng's protocol."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        listen: bool,
        options: PullOptions,
        timeout_seconds: float,
        limit_bytes: int,
        expected_producers: int = 1,
        securing: Securing = TcpWire,
    ) -> None:
        """Dial (trying until the time is over) or listen; see `connect.open_pull`."""
        super().__init__(
            endpoint,
            limit_bytes=limit_bytes,
            expected_producers=expected_producers if listen else 1,
        )
        self._options = options
        self._listener: Listener | None = None
        if listen:
            self._listener = Listener(endpoint, self._serve, securing=securing)
            self.endpoint = self._listener.endpoint
            self._listener.start()
            return
        wire = dial(endpoint, timeout_seconds, securing)
        thread = threading.Thread(target=self._serve, args=(wire,), name="pull", daemon=True)
        thread.start()
        self._await_first(thread, timeout_seconds)

    def _serve(self, wire: Wire) -> None:
        Inlet(wire, self._pool, self._queue, self._options).run(self.came, self.went)
        with self._changed:
            self._changed.notify_all()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
