"""Data sources together make an event; one that fails does not end the stream."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np

from lclstreamer.data_sources.base import Extractor, RunFacts, Shot


class Value:
    def __init__(self, name, parameters, facts):
        self.name, self.value, self.facts = name, parameters.value, facts

    def get(self, shot):
        if callable(self.value):
            return self.value(shot)
        return self.value


def extractor(**values) -> Extractor:
    made = Extractor({n: SimpleNamespace(value=v) for n, v in values.items()}, lambda _: Value)
    made.prepare(RunFacts("here"))
    return made


def test_only_what_is_named_is_taken_and_absent_data_is_none():
    event = extractor(a=np.array(1), b=None).extract(Shot(9))
    assert (event.event_id, event.data) == (9, {"a": np.array(1), "b": None})


def test_several_arrays_of_one_source_get_dotted_names():
    event = extractor(det={"raw.x": np.array(1), "y": np.array(2)}).extract(Shot(0))
    assert list(event.data) == ["det.raw.x", "det.y"]


def test_a_failure_is_missing_data_with_a_counted_reason_and_one_warning(caplog):
    def fail(shot):
        raise TypeError("object of type 'NoneType' has no len()")

    made = extractor(bad=fail, good=np.array(1))
    with caplog.at_level(logging.WARNING):
        events = [made.extract(Shot(number)) for number in range(5)]
    assert all(event.data["bad"] is None and event.data["good"] == 1 for event in events)
    assert made.failures == {"bad: TypeError": 5}
    (record,) = caplog.records
    assert record.data_source == "bad"
    assert "NoneType" in record.error
