"""Random and constant data."""

from __future__ import annotations

import numpy as np
import pytest

from lclstreamer.data_sources.base import RunFacts, Shot
from lclstreamer.data_sources.generic import (
    ConstValue,
    EventId,
    GenericRandomNumpyArray,
    SourceIdentifier,
)
from lclstreamer.parameters.data_sources import (
    ConstValueParameters,
    EventIdParameters,
    FloatValueParameters,
    GenericRandomNumpyArrayParameters,
    IntValueParameters,
    SourceIdentifierParameters,
)


def random_source(name="x", shape=(3, 4), dtype="float32", seed=0, **more):
    parameters = GenericRandomNumpyArrayParameters(
        type="GenericRandomNumpyArray", array_shape=shape, array_dtype=dtype, **more
    )
    return GenericRandomNumpyArray(name, parameters, RunFacts(seed=seed))


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("uint8", 0, 254), ("int8", 0, 127), ("uint16", 0, 254), ("int64", 0, 254),
        ("float16", 0, 1), ("float32", 0, 1), ("float64", 0, 1),
    ],
)  # fmt: skip
def test_type_shape_and_range(dtype, low, high):
    array = random_source(shape=(50, 40), dtype=dtype).get(Shot(7))
    assert (array.dtype, array.shape) == (np.dtype(dtype), (50, 40))
    assert low <= array.min() < array.max() <= high
    assert len(np.unique(array)) > 50


def test_the_same_event_has_the_same_numbers_wherever_it_is_made():
    one, other = random_source(), random_source()
    for event_id in (5, 3, 4):
        other.get(Shot(event_id + 100))
        np.testing.assert_array_equal(one.get(Shot(event_id)), other.get(Shot(event_id)))


@pytest.mark.parametrize("other", [{"name": "y"}, {"seed": 1}])
def test_name_and_seed_make_a_difference(other):
    assert not np.array_equal(random_source().get(Shot(1)), random_source(**other).get(Shot(1)))


def test_events_differ_unless_the_array_is_made_once():
    fresh, constant = random_source(), random_source(always_random=False)
    assert not np.array_equal(fresh.get(Shot(1)), fresh.get(Shot(2)))
    assert constant.get(Shot(1)) is constant.get(Shot(2))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            ConstValueParameters(type="ConstValue", value=(6, 3), dtype="uint32"),
            np.array([6, 3], "u4"),
        ),
        (ConstValueParameters(type="ConstValue", value=6.5, dtype="float32"), np.array(6.5, "f4")),
        (FloatValueParameters(type="FloatValue", value=4), np.array(4.0)),
        (IntValueParameters(type="IntValue", value=2**40), np.array(2**40)),
    ],
)
def test_constants(parameters, expected):
    array = ConstValue("c", parameters, RunFacts()).get(Shot(0))
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def test_event_ids_are_exact():
    source = EventId("id", EventIdParameters(type="EventId"), RunFacts())
    assert source.get(Shot(4776162079372773723)) == np.uint64(4776162079372773723)
    assert source.get(Shot(2**64 - 1)).dtype == np.uint64


def test_source_identifier():
    parameters = SourceIdentifierParameters(type="SourceIdentifier")
    source = SourceIdentifier("s", parameters, RunFacts("exp=a,run=1"))
    assert str(source.get(Shot(0))) == "exp=a,run=1"
