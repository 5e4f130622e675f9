"""The buffer's metrics as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable

from lclstreamer.core.exposition import Samples
from lclstreamer.core.exposition import exposition as written
from lclstreamer.core.metrics import BY_NAME
from lclstreamer.transport.records import PeerRecord
from nng_stream.forwarder import Buffer

_PREFIX = "lclstream_buffer_"


def exposition(buffer: Buffer) -> str:
    """Every metric of the buffer, in Prometheus' text format."""
    return written(_samples(buffer))


def _samples(buffer: Buffer) -> Samples:
    producers, consumers = buffer.inlets.records(), buffer.outlets.records()
    queue, refused = buffer.queue, (buffer.inlets.refused, buffer.outlets.refused)
    labelled: dict[str, dict[tuple[str, ...], float]] = {
        "received_messages_total": _by_protocol(producers, "messages"),
        "received_bytes_total": _by_protocol(producers, "bytes"),
        "sent_messages_total": _by_protocol(consumers, "messages"),
        "sent_bytes_total": _by_protocol(consumers, "bytes"),
        "acknowledged_messages_total": _by_protocol(consumers, "acknowledged_messages"),
        "refused_connections_total": {("inlet",): refused[0], ("outlet",): refused[1]},
    }
    plain = {
        "redelivered_messages_total": queue.redelivered_messages,
        "queued_bytes": buffer.pool.in_use_bytes,
        "queued_messages": queue.unfinished()[0],
        "limit_bytes": buffer.pool.limit_bytes,
        "connected_producers": buffer.inlets.census.connected,
        "connected_consumers": buffer.outlets.census.connected,
    }
    for name, value in plain.items():
        labelled[name] = {("all",) if BY_NAME[_PREFIX + name].labels else (): value}
    return {_PREFIX + name: values for name, values in labelled.items()}


def _by_protocol(records: Iterable[PeerRecord], field: str) -> dict[tuple[str, ...], float]:
    sums: dict[tuple[str, ...], float] = {("nng",): 0, ("zmq",): 0}
    for record in records:
        sums[(record.protocol,)] += getattr(record, field)
    return sums
