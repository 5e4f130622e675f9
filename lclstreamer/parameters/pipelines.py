"""Parameters of the pipelines: how events become batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lclstreamer.parameters.base import StrictModel

BatchSize = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
ImageSide = Annotated[int, Field(strict=True, ge=1, le=65_536)]


class BatchProcessingPipelineParameters(StrictModel):
    """Stack consecutive events.

    A batch is closed early, and nothing is lost, where the shape or type of an array changes from
    one event to the next, and at the end of the run.
    """

    type: Literal["BatchProcessingPipeline"]

    batch_size: BatchSize
    """Events in a full batch."""


class NoOpProcessingPipelineParameters(StrictModel):
    """Pass every event on alone: a batch of one."""

    type: Literal["NoOpProcessingPipeline"]


class PeaknetPreprocessingPipelineParameters(StrictModel):
    """Pad images with zeros to one size and stack them, as PeakNet wants them.

    An image of shape (height, width) becomes (channels, target height, target width), one of shape
    (planes, height, width) keeps its planes as channels. An image larger than the target is
    refused: cropping would lose data silently. Everything else is batched as it is.
    """

    type: Literal["PeaknetPreprocessingPipeline"]

    batch_size: BatchSize
    """Events in a full batch."""

    target_height: ImageSide
    """Height of the padded image in pixels."""

    target_width: ImageSide
    """Width of the padded image in pixels."""

    pad_style: Literal["center", "bottom-right"] = "center"
    """Whether zeros surround the image, or follow it at the bottom and on the right."""

    add_channel_dim: bool = True
    """Whether (height, width) images get a channel dimension in front."""

    num_channels: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1
    """Copies of a single image along the channel dimension; needs `add_channel_dim`."""

    images: tuple[str, ...] | None = None
    """The data sources that are images; by default every numeric one with 2 or 3 dimensions."""


ProcessingPipelineParameters = Annotated[
    BatchProcessingPipelineParameters
    | NoOpProcessingPipelineParameters
    | PeaknetPreprocessingPipelineParameters,
    Field(discriminator="type"),
]
"""Any pipeline."""
