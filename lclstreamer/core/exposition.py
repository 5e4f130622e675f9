"""Metrics in Prometheus' text format: one way to count and to write them, for every service."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping

from lclstreamer.core.metrics import BY_NAME, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Samples = Mapping[str, Mapping[tuple[str, ...], float]]
"""Name of a metric → values of its labels → value."""


class Counts:
    """Counters that several threads add to."""

    def __init__(self) -> None:
        self._values: dict[str, Counter[tuple[str, ...]]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, *labels: str, by: int = 1) -> None:
        """Count something under the values of a metric's labels."""
        with self._lock:
            self._values.setdefault(name, Counter())[labels] += by

    def samples(self) -> dict[str, dict[tuple[str, ...], float]]:
        """What was counted so far."""
        with self._lock:
            return {name: dict(values) for name, values in self._values.items()}


def exposition(samples: Samples) -> str:
    """These metrics, each with its help and kind from the one list of metrics."""
    return "".join(
        f"{line}\n" for name, values in samples.items() for line in _lines(BY_NAME[name], values)
    )


def _lines(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.help}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for labels, value in sorted(values.items()):
        pairs = zip(metric.labels, labels, strict=True)
        inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in pairs)
        yield f"{metric.name}{f'{{{inner}}}' if inner else ''} {value:.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
