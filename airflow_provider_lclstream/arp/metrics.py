"""The counters of `lclstream arp serve` for Prometheus, on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from lclstreamer.core.errors import UnavailableError
from lclstreamer.core.metrics import BY_NAME

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily

DISPATCHED = BY_NAME["lclstream_runevents_dispatched_total"]
REJECTED = BY_NAME["lclstream_runevents_rejected_total"]


class RunEventCounts:
    """A collector over counts that somebody else keeps."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Called by Prometheus' client for every scrape."""
        from prometheus_client.core import CounterMetricFamily

        counts = dict(self._counts())
        rejected = counts.pop("rejected", 0)
        dispatched = CounterMetricFamily(DISPATCHED.name, DISPATCHED.help, labels=["outcome"])
        for outcome, count in sorted(counts.items()):
            dispatched.add_metric([outcome], count)
        yield dispatched
        yield CounterMetricFamily(REJECTED.name, REJECTED.help, value=rejected)


def serve_metrics(port: int, counts: Callable[[], Mapping[str, int]]) -> Callable[[], None]:
    """Serve the counts at ``http://127.0.0.1:<port>/metrics``; returns what ends it.

    Raises:
        UnavailableError: the port is in use.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(RunEventCounts(counts))  # pyright: ignore[reportArgumentType]
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise UnavailableError(
            f"metrics cannot be served on port {port}: {error.strerror}",
            mend="choose another with --metrics-port, or leave it out",
        ) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(5)

    return stop
