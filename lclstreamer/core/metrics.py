"""The one list of metric names, in the form ``lclstream_<noun>_<verb>_<unit>``.

Long-lived services serve these as `core.exposition` writes them; their page in the documentation is
generated from this table, and a test holds the services to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric: its name, kind, labels and a sentence for people."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = field(default=())


METRICS: tuple[Metric, ...] = (
    Metric("lclstream_buffer_received_messages_total", "counter", "Messages received.", ("inlet",)),
    Metric(
        "lclstream_buffer_received_bytes_total", "counter", "Payload bytes received.", ("inlet",)
    ),
    Metric("lclstream_buffer_sent_messages_total", "counter", "Messages sent.", ("outlet",)),
    Metric("lclstream_buffer_sent_bytes_total", "counter", "Payload bytes sent.", ("outlet",)),
    Metric(
        "lclstream_buffer_acknowledged_messages_total",
        "counter",
        "Messages acknowledged by consumers.",
        ("outlet",),
    ),
    Metric(
        "lclstream_buffer_redelivered_messages_total",
        "counter",
        "Messages sent again after a consumer died.",
        ("outlet",),
    ),
    Metric(
        "lclstream_buffer_refused_connections_total",
        "counter",
        "Connections refused by TLS or by the list of allowed peers.",
        ("side",),
    ),
    Metric("lclstream_buffer_queued_bytes", "gauge", "Bytes held in memory at this moment."),
    Metric("lclstream_buffer_queued_messages", "gauge", "Messages held in memory at this moment."),
    Metric("lclstream_buffer_limit_bytes", "gauge", "The bound on queued bytes."),
    Metric("lclstream_buffer_connected_producers", "gauge", "Producers connected at this moment."),
    Metric("lclstream_buffer_connected_consumers", "gauge", "Consumers connected at this moment."),
    Metric(
        "lclstream_runevents_dispatched_total",
        "counter",
        "Run events that started a transfer.",
        ("outcome",),
    ),
    Metric(
        "lclstream_runevents_rejected_total",
        "counter",
        "Kafka messages that could not be understood.",
    ),
    Metric("lclstream_jobs_known_jobs", "gauge", "Jobs of a job service.", ("state",)),
    Metric(
        "lclstream_jobs_submitted_total",
        "counter",
        "Jobs that were posted: taken, repeated with the same key, refused, or failed at once.",
        ("backend", "outcome"),
    ),
    Metric("lclstream_jobs_reconcile_seconds", "gauge", "How long the last reconciling took."),
    Metric("lclstream_jobs_reconcile_age_seconds", "gauge", "Time since the last reconciling."),
    Metric(
        "lclstream_jobs_reconcile_problems",
        "gauge",
        "Backends and jobs that could not be asked about in the last reconciling.",
    ),
    Metric(
        "lclstream_jobs_answered_requests_total",
        "counter",
        "Requests to a job service, by the first digit of their status.",
        ("dialect", "status"),
    ),
    Metric("lclstream_jobs_waiting_requests", "gauge", "Long-polls that wait at this moment."),
    Metric(
        "lclstream_callbacks_sent_total",
        "counter",
        "Callbacks that were sent: delivered, failed and tried again, or given up.",
        ("outcome",),
    ),
    Metric("lclstream_callbacks_waiting_callbacks", "gauge", "Callbacks not yet delivered."),
    Metric(
        "lclstream_callbacks_oldest_seconds",
        "gauge",
        "How long the oldest undelivered callback has waited.",
    ),
)
"""Every metric of this project."""

BY_NAME = {metric.name: metric for metric in METRICS}
