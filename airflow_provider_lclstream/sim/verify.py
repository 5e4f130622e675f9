"""Did every event arrive exactly once? Found out by reading every message that consumers wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_lclstream.sim.picture import RunView
from lclstreamer.core.errors import BadInputError


@dataclass
class Arrivals:
    """What the messages of one run contain.

    Attributes:
        times: event id → how often it arrived.
        per_consumer: events in the messages of each consumer.
    """

    view: RunView = field(default_factory=RunView)
    times: Counter[int] = field(default_factory=Counter)
    messages: int = 0
    bytes: int = 0
    per_consumer: Counter[str] = field(default_factory=Counter)

    def lost(self, expected: Iterable[int]) -> int:
        """Events that should have arrived and did not."""
        return len(set(expected) - set(self.times))

    def foreign(self, expected: Iterable[int]) -> int:
        """Events that arrived and were never in the run."""
        return len(set(self.times) - set(expected))

    @property
    def delivered(self) -> int:
        """Different events that arrived."""
        return len(self.times)

    @property
    def duplicated(self) -> int:
        """Arrivals of events that had arrived before."""
        return self.times.total() - len(self.times)


def read_arrivals(files: Iterable[Path]) -> Arrivals:
    """Read every message; the folder of a file names its consumer.

    Raises:
        BadInputError: a message is damaged, or has no event ids.
    """
    from lclstreamer.serializers.reading import read_message

    arrivals = Arrivals()
    for path in files:
        payload = path.read_bytes()
        try:
            batch = read_message(payload)
        except BadInputError as error:
            raise BadInputError(error.problem, mend=error.mend, where=str(path)) from error
        ids = [int(event_id) for event_id in batch.event_ids]
        arrivals.times.update(ids)
        arrivals.per_consumer[path.parent.name] += len(ids)
        arrivals.messages += 1
        arrivals.bytes += len(payload)
        arrivals.view.add(batch.data["image"])
    return arrivals
