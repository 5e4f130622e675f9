"""The buffer's metrics as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lclstreamer.core.metrics import BY_NAME
from lclstreamer.transport.records import PeerRecord
from nng_stream.forwarder import Buffer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "lclstream_buffer_"


def exposition(buffer: Buffer) -> str:
    """Every metric of the buffer, in Prometheus' text format."""
    return "".join(f"{line}\n" for line in _lines(buffer))


def _lines(buffer: Buffer) -> Iterator[str]:
    producers, consumers = buffer.inlets.records(), buffer.outlets.records()
    queue = buffer.queue
    labelled = {
        "received_messages_total": ("inlet", producers, "messages"),
        "received_bytes_total": ("inlet", producers, "bytes"),
        "sent_messages_total": ("outlet", consumers, "messages"),
        "sent_bytes_total": ("outlet", consumers, "bytes"),
        "acknowledged_messages_total": ("outlet", consumers, "acknowledged_messages"),
    }
    for name, (label, records, field) in labelled.items():
        yield from _metric(name, ((label, *pair) for pair in _by_protocol(records, field)))
    refused = (("inlet", buffer.inlets.refused), ("outlet", buffer.outlets.refused))
    yield from _metric("refused_connections_total", [("side", *pair) for pair in refused])
    plain = {
        "redelivered_messages_total": queue.redelivered_messages,
        "queued_bytes": buffer.pool.in_use_bytes,
        "queued_messages": queue.unfinished()[0],
        "limit_bytes": buffer.pool.limit_bytes,
        "connected_producers": buffer.inlets.census.connected,
        "connected_consumers": buffer.outlets.census.connected,
    }
    for name, value in plain.items():
        label = "outlet" if BY_NAME[_PREFIX + name].labels else ""
        yield from _metric(name, [(label, "all", value)])


def _by_protocol(records: Iterable[PeerRecord], field: str) -> Iterator[tuple[str, int]]:
    sums = {"nng": 0, "zmq": 0}
    for record in records:
        sums[record.protocol] += getattr(record, field)
    yield from sums.items()


def _metric(name: str, samples: Iterable[tuple[str, str, int]]) -> Iterator[str]:
    metric = BY_NAME[_PREFIX + name]
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for label, key, value in samples:
        labels = f'{{{label}="{key}"}}' if label else ""
        yield f"{metric.name}{labels} {value}"
