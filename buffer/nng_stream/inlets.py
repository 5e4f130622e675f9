"""Where producers come in."""

from __future__ import annotations

from lclstreamer.transport.inlet import Inlet, PullOptions
from lclstreamer.transport.run_queue import RunQueue
from lclstreamer.transport.slabs import SlabPool
from lclstreamer.transport.url import Endpoint
from lclstreamer.transport.zmq_inlet import ZmqInlet
from nng_stream.settings import BufferSettings
from nng_stream.side import Side


class Inlets(Side[Inlet, ZmqInlet]):
    """All listening inlets of a buffer. What arrives is acknowledged as soon as it is queued."""

    def __init__(self, settings: BufferSettings, pool: SlabPool, queue: RunQueue) -> None:
        """Listen; see `Side`."""
        options = PullOptions(settings.name, settings.max_message_bytes, on_arrival=True)

        def make_zmq(place: Endpoint) -> ZmqInlet:
            return ZmqInlet(
                place, pool, queue, listen=True, max_message_bytes=settings.max_message_bytes
            )

        super().__init__(
            settings.inlet_endpoints(),
            settings.port_range,
            lambda wire: Inlet(wire, pool, queue, options),
            make_zmq,
            settings.inlet_peers(),
        )

    @property
    def ended_producers(self) -> int:
        """How many producers have ended; one that came again under its name counts once."""
        ended = {peer.record.name for peer in self.peers if peer.record.end is not None}
        return len(ended) + sum(part.peers_left for part in self._zmq)

    def drain(self) -> None:
        """Take what has been sent up to now, and no more."""
        self.close()
        for peer in self.peers:
            peer.drain()
