import numpy as np
import pytest

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.events import Event
from lclstreamer.parameters.pipelines import PeaknetPreprocessingPipelineParameters
from lclstreamer.pipelines.peaknet import PeaknetPreprocessingPipeline


def batches_of(events, **parameters):
    values = {"batch_size": 2, "target_height": 8, "target_width": 10, **parameters}
    pipeline = PeaknetPreprocessingPipeline(
        PeaknetPreprocessingPipelineParameters(type="PeaknetPreprocessingPipeline", **values)
    )
    return list(pipeline.process(iter(events), run="r", rank=0))


def image_events(shape, dtype="u2", count=3):
    rng = np.random.default_rng(1)
    return [
        Event(n, {"image": rng.integers(1, 99, shape).astype(dtype), "energy": np.array(9.5 + n)})
        for n in range(count)
    ]


def test_images_are_centered_and_get_a_channel():
    events = image_events((4, 6))
    first, last = batches_of(events)
    assert first.data["image"].shape == (2, 1, 8, 10)
    assert last.data["image"].shape == (1, 1, 8, 10)
    np.testing.assert_array_equal(first.data["image"][0, 0, 2:6, 2:8], events[0].data["image"])
    assert first.data["image"][0].sum() == events[0].data["image"].sum()


def test_an_odd_rest_goes_to_the_bottom_and_the_right():
    (event,) = image_events((3, 7), count=1)
    (batch,) = batches_of([event])
    np.testing.assert_array_equal(batch.data["image"][0, 0, 2:5, 1:8], event.data["image"])


def test_bottom_right_leaves_the_corner_where_it_is():
    (event,) = image_events((4, 6), count=1)
    (batch,) = batches_of([event], pad_style="bottom-right")
    np.testing.assert_array_equal(batch.data["image"][0, 0, :4, :6], event.data["image"])
    assert not batch.data["image"][0, 0, 4:].any()
    assert not batch.data["image"][0, 0, :, 6:].any()


@pytest.mark.parametrize("dtype", ["u2", "i2", "f4", "f8", "u1", "?"])
def test_the_type_of_the_pixels_stays(dtype):
    (batch,) = batches_of(image_events((4, 6), dtype, count=1))
    assert batch.data["image"].dtype == np.dtype(dtype)


def test_panels_of_a_real_detector_are_padded_and_become_channels():
    """Upstream leaves (1, 100, 120) as it is where 128 x 128 was asked for."""
    events = image_events((1, 100, 120), count=2)
    (batch,) = batches_of(events, target_height=128, target_width=128)
    assert batch.data["image"].shape == (2, 1, 128, 128)
    assert batch.data["image"][1].sum() == events[1].data["image"].sum()
    (batch,) = batches_of(image_events((4, 5, 5), count=2))
    assert batch.data["image"].shape == (2, 4, 8, 10)


def test_one_plane_is_repeated_over_the_channels():
    events = image_events((4, 6), count=2)
    (batch,) = batches_of(events, num_channels=3)
    assert batch.data["image"].shape == (2, 3, 8, 10)
    np.testing.assert_array_equal(batch.data["image"][:, 0], batch.data["image"][:, 2])


def test_without_channels_the_image_keeps_two_dimensions():
    (batch,) = batches_of(image_events((4, 6), count=2), add_channel_dim=False, num_channels=3)
    assert batch.data["image"].shape == (2, 8, 10)


def test_an_image_of_the_target_size_is_unchanged():
    (event,) = image_events((8, 10), count=1)
    (batch,) = batches_of([event])
    np.testing.assert_array_equal(batch.data["image"][0, 0], event.data["image"])


@pytest.mark.parametrize("shape", [(9, 4), (4, 11), (2, 9, 11)])
def test_an_image_larger_than_the_target_is_refused_with_a_mend(shape):
    with pytest.raises(BadInputError, match="larger than the target of 8 x 10") as caught:
        batches_of(image_events(shape, count=1))
    assert str(max(shape[-2], 8)) in caught.value.mend


def test_images_of_different_sizes_share_a_batch():
    events = image_events((4, 6), count=1) + image_events((8, 9), count=1)
    (batch,) = batches_of(events)
    assert len(batch) == 2


def test_what_is_no_image_passes():
    (event,) = image_events((4, 6), count=1)
    event.data.update(wave=np.arange(5.0), label=np.array("on"), gone=None, table=np.ones((2, 3)))
    (batch,) = batches_of([event], images=["image"])
    assert batch.data["table"].shape == (1, 2, 3)
    assert batch.data["wave"].shape == (1, 5)
    assert batch.data["label"].tolist() == ["on"]
    assert batch.data["energy"].tolist() == [9.5]
    assert "gone" not in batch.data


def test_a_missing_image_is_filled_at_the_padded_size():
    events = image_events((4, 6), "f4", count=2)
    events[0].data["image"] = None
    (batch,) = batches_of(events)
    assert batch.data["image"].shape == (2, 1, 8, 10)
    assert np.isnan(batch.data["image"][0]).all()


def test_a_named_image_with_one_dimension_is_refused():
    with pytest.raises(BadInputError, match="1 dimensions"):
        batches_of([Event(0, {"image": np.arange(4)})], images=["image"])
