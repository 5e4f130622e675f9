"""Where consumers take messages out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lclstreamer.transport.outlet import Outlet, PushOptions
from lclstreamer.transport.run_queue import RunQueue
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.window import AdaptiveWindow
from lclstreamer.transport.zmq_outlet import ZmqOutlet
from nng_stream.settings import BufferSettings
from nng_stream.side import Side

WINDOWS_PER_LIMIT = 4
"""One consumer may hold this fraction of the memory unacknowledged."""
_ZMQ_LIMIT_BYTES = 64 << 20


class Outlets(Side[Outlet, ZmqOutlet]):
    """All listening outlets of a buffer. Each message goes to one consumer."""

    def __init__(
        self, settings: BufferSettings, queue: RunQueue, summary: Callable[[], dict[str, Any]]
    ) -> None:
        """Listen; see `Side`. The consumers are told the ``summary`` at the end of the stream."""
        share = settings.limit_bytes // WINDOWS_PER_LIMIT
        options = PushOptions(
            settings.name,
            lambda: AdaptiveWindow(share),
            summary=summary,
            consumer_timeout_seconds=settings.consumer_timeout_seconds,
        )

        def make_zmq(place: Endpoint) -> ZmqOutlet:
            return ZmqOutlet(place, queue, listen=True, limit_bytes=min(share, _ZMQ_LIMIT_BYTES))

        super().__init__(
            settings.outlet_endpoints(),
            settings.port_range,
            lambda wire: Outlet(wire, queue, options),
            make_zmq,
            settings.outlet_peers(),
        )
