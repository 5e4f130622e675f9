"""Made-up events are dealt over the ranks."""

from __future__ import annotations

import time

import numpy as np
import pytest

from lclstreamer.data_sources.base import Extractor
from lclstreamer.event_sources.base import Pace, SourceSetup, StopFlag
from lclstreamer.event_sources.internal import InternalEventSource
from lclstreamer.mpi import RankContext
from lclstreamer.parameters.data_sources import GenericRandomNumpyArrayParameters
from lclstreamer.parameters.event_sources import InternalEventSourceParameters
from lclstreamer.registry import find_class

RANDOM = GenericRandomNumpyArrayParameters(
    type="GenericRandomNumpyArray", array_shape=(2, 3), array_dtype="float32"
)


def read(count, rank=0, size=1, limit=None, stop=None, seed=0, rate=None):
    setup = SourceSetup(
        "",
        Extractor({"r": RANDOM}, lambda source: find_class("data_source", source.type)),
        RankContext(rank, size, "PMI_RANK"),
        limit,
        stop or StopFlag(),
    )
    parameters = InternalEventSourceParameters(
        type="InternalEventSource",
        number_of_events_to_generate=count,
        seed=seed,
        events_per_second=rate,
    )
    return InternalEventSource(parameters, setup).events()


def ids(*arguments, **more):
    return [event.event_id for event in read(*arguments, **more)]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_the_ranks_share_the_events(size):
    shares = [ids(20, rank, size) for rank in range(size)]
    assert sorted(number for share in shares for number in share) == list(range(20))


def test_the_limit_counts_over_all_ranks():
    assert sorted(ids(20, 0, 2, limit=5) + ids(20, 1, 2, limit=5)) == [0, 1, 2, 3, 4]
    assert ids(3, limit=10) == [0, 1, 2]


def test_an_event_is_the_same_on_any_number_of_ranks():
    alone = {event.event_id: event.data["r"] for event in read(12)}
    for size in (2, 5):
        for rank in range(size):
            for event in read(12, rank, size):
                np.testing.assert_array_equal(event.data["r"], alone[event.event_id])


def test_another_seed_gives_other_events():
    (one,), (other,) = read(1), read(1, seed=1)
    assert not np.array_equal(one.data["r"], other.data["r"])


def test_it_stops_when_asked():
    stop = StopFlag()
    events = read(1000, stop=stop)
    next(events)
    stop.set()
    assert list(events) == []


def test_the_rate_is_that_of_the_whole_run():
    started = time.monotonic()
    assert len(ids(11, 0, 1, rate=50)) == 11
    assert 0.19 <= time.monotonic() - started < 1.0
    started = time.monotonic()
    assert len(ids(11, 0, 2, rate=50)) == 6
    assert 0.19 <= time.monotonic() - started < 1.0


def test_a_stop_ends_a_long_wait(monkeypatch):
    stop = StopFlag()
    pace = Pace(0.01, stop)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            stop.set()

    monkeypatch.setattr(time, "sleep", sleep)
    pace.wait_for(5)  # its turn is 500 s away
    assert len(slept) == 3
    assert max(slept) <= 0.2
    pace.wait_for(5)
    assert len(slept) == 3
    stop.clear()
    assert not stop.is_set()
