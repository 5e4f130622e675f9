import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.events import Event
from lclstreamer.parameters.pipelines import (
    BatchProcessingPipelineParameters,
    NoOpProcessingPipelineParameters,
)
from lclstreamer.pipelines.batch import BatchProcessingPipeline, NoOpProcessingPipeline


def batches_of(events, batch_size, **context):
    parameters = BatchProcessingPipelineParameters(
        type="BatchProcessingPipeline", batch_size=batch_size
    )
    context = {"run": "exp=x,run=1", "rank": 0, **context}
    return list(BatchProcessingPipeline(parameters).process(iter(events), **context))


def image_event(number, shape=(3, 4), dtype="f4"):
    return Event(number, {"image": np.full(shape, number, dtype), "index": np.array(number)})


def test_the_last_short_batch_is_flushed():
    batches = batches_of([image_event(n) for n in range(7)], 3)
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert [batch.sequence for batch in batches] == [0, 1, 2]
    assert batches[2].data["image"].shape == (1, 3, 4)


def test_run_and_rank_and_ids_are_kept():
    (batch,) = batches_of([image_event(2**64 - 1)], 5, run="exp=tst,run=9", rank=17)
    assert (batch.run, batch.rank) == ("exp=tst,run=9", 17)
    assert batch.event_ids.dtype == np.uint64
    assert batch.event_ids.tolist() == [2**64 - 1]


def test_no_events_no_batches():
    assert batches_of([], 4) == []


def test_scalars_become_a_vector():
    (batch,) = batches_of([image_event(n) for n in range(3)], 10)
    np.testing.assert_array_equal(batch.data["index"], [0, 1, 2])


def test_a_change_of_shape_closes_the_batch_and_loses_nothing():
    shapes = [(2, 2), (2, 2), (3, 2), (3, 2), (2, 2)]
    batches = batches_of([image_event(n, shape) for n, shape in enumerate(shapes)], 10)
    assert [b.data["image"].shape for b in batches] == [(2, 2, 2), (2, 3, 2), (1, 2, 2)]
    assert np.concatenate([b.event_ids for b in batches]).tolist() == [0, 1, 2, 3, 4]


def test_a_change_of_type_closes_the_batch():
    batches = batches_of([image_event(0, dtype="u2"), image_event(1, dtype="f4")], 10)
    assert [b.data["image"].dtype for b in batches] == [np.dtype("u2"), np.dtype("f4")]


def test_texts_of_different_length_stay_together():
    texts = ["a", "longer", "", "é"]
    (batch,) = batches_of([Event(n, {"t": np.array(t)}) for n, t in enumerate(texts)], 10)
    assert batch.data["t"].tolist() == texts


@pytest.mark.parametrize(
    ("dtype", "filler"),
    [("f4", np.nan), ("i4", 0), ("i1", 0), ("u2", 0), ("?", False), ("c8", np.nan)],
)
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_missing_values_are_filled_wherever_they_are_missing(dtype, filler, missing):
    """Upstream exits when the first event lacks something and crashes when another does."""
    events = [image_event(n, (2, 2), dtype) for n in range(3)]
    events[missing].data["image"] = None
    (batch,) = batches_of(events, 3)
    assert batch.data["image"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(batch.data["image"][missing], np.full((2, 2), filler, dtype))
    assert len(batch) == 3


def test_a_source_missing_in_a_whole_batch_is_filled_once_its_shape_is_known():
    events = [Event(n, {"t": np.array(n), "image": None}) for n in range(4)]
    events[1].data["image"] = np.ones((2, 2))
    first, second = batches_of(events, 2)
    assert np.isnan(first.data["image"][0]).all()
    assert np.isnan(second.data["image"]).all()
    assert second.data["image"].shape == (2, 2, 2)


def test_a_source_nobody_has_seen_is_left_out():
    (batch,) = batches_of([Event(0, {"t": np.array(1.5), "image": None})], 2)
    assert list(batch.data) == ["t"]


def test_a_missing_text_is_the_empty_text():
    (batch,) = batches_of([Event(0, {"t": None}), Event(1, {"t": np.array("ab")})], 2)
    assert batch.data["t"].tolist() == ["", "ab"]


def test_python_objects_are_refused_with_a_mend():
    peaks = np.empty((), dtype=object)
    with pytest.raises(BadInputError, match="'peaks' yields Python objects"):
        batches_of([Event(0, {"peaks": peaks})], 1)


def test_no_op_makes_batches_of_one():
    pipeline = NoOpProcessingPipeline(
        NoOpProcessingPipelineParameters(type="NoOpProcessingPipeline")
    )
    batches = list(pipeline.process(map(image_event, range(3)), run="r", rank=1))
    assert [(len(b), b.sequence, b.rank) for b in batches] == [(1, 0, 1), (1, 1, 1), (1, 2, 1)]


event_shapes = st.lists(
    st.tuples(st.sampled_from([(2,), (3,), (2, 2), None]), st.sampled_from(["f4", "u2"])),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(shapes=event_shapes, batch_size=st.integers(1, 8))
def test_every_event_is_in_exactly_one_batch_in_order(shapes, batch_size):
    events = [
        Event(n, {"a": None if s is None else np.full(s, n, d), "n": np.array(n)})
        for n, (s, d) in enumerate(shapes)
    ]
    batches = batches_of(events, batch_size)
    ids = [i for batch in batches for i in batch.event_ids.tolist()]
    assert ids == list(range(len(events)))
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert [batch.sequence for batch in batches] == list(range(len(batches)))
    for batch in batches:
        assert batch.data["n"].tolist() == batch.event_ids.tolist()
        for row, number in enumerate(batch.event_ids.tolist()):
            if events[number].data["a"] is not None:
                np.testing.assert_array_equal(batch.data["a"][row], events[number].data["a"])
