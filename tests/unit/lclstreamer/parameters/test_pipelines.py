import pytest
from pydantic import TypeAdapter, ValidationError

from lclstreamer.parameters.pipelines import ProcessingPipelineParameters

parse = TypeAdapter(ProcessingPipelineParameters).validate_python
PEAKNET = {
    "type": "PeaknetPreprocessingPipeline",
    "batch_size": 16,
    "target_height": 2048,
    "target_width": 2048,
}


def test_upstreams_keys_are_understood():
    assert parse({"type": "BatchProcessingPipeline", "batch_size": 10}).batch_size == 10
    assert parse({"type": "NoOpProcessingPipeline"}).type == "NoOpProcessingPipeline"
    peaknet = parse({**PEAKNET, "pad_style": "center", "add_channel_dim": True, "num_channels": 1})
    assert peaknet == parse(PEAKNET)


@pytest.mark.parametrize("batch_size", [0, -5, 2_000_000, "10", 2.0, True, None])
def test_a_batch_size_that_makes_no_sense_is_refused(batch_size):
    """Upstream accepts 0 and negative numbers and works with 1."""
    for base in ({"type": "BatchProcessingPipeline"}, PEAKNET):
        with pytest.raises(ValidationError, match="batch_size"):
            parse({**base, "batch_size": batch_size})


@pytest.mark.parametrize(
    "values",
    [{"target_height": 0}, {"target_width": 10**6}, {"num_channels": 0}, {"num_channels": 5000},
     {"pad_style": "left"}, {"target_depth": 3}],
)  # fmt: skip
def test_peaknet_numbers_have_bounds(values):
    with pytest.raises(ValidationError):
        parse({**PEAKNET, **values})
