"""Images of one size, batched, as PeakNet wants them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.events import Batch, Event
from lclstreamer.parameters.pipelines import PeaknetPreprocessingPipelineParameters
from lclstreamer.pipelines.stacking import stack_events

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


class PeaknetPreprocessingPipeline:
    """Pads images with zeros to the target size, adds the channel dimension, batches.

    The type of the pixels stays what it was. Arrays that are no images pass unchanged.
    """

    def __init__(self, parameters: PeaknetPreprocessingPipelineParameters) -> None:
        self._parameters = parameters

    def process(self, events: Iterator[Event], *, run: str, rank: int) -> Iterator[Batch]:
        """Yield batches of padded images until the events end; the last may be short.

        Raises:
            BadInputError: an image is larger than the target, or has a wrong number of dimensions.
        """
        padded = (self._prepare(event) for event in events)
        return stack_events(padded, self._parameters.batch_size, run=run, rank=rank)

    def _prepare(self, event: Event) -> Event:
        data = {
            name: self._pad(name, value)
            if value is not None and self._is_image(name, value)
            else value
            for name, value in event.data.items()
        }
        return Event(event.event_id, data)

    def _is_image(self, name: str, value: Array) -> bool:
        if self._parameters.images is not None:
            return name in self._parameters.images
        return value.ndim in {2, 3} and value.dtype.kind in "biuf"

    def _pad(self, name: str, image: Array) -> Array:
        """Place (height, width) or (planes, height, width) in zeros of the target size."""
        target = (self._parameters.target_height, self._parameters.target_width)
        if image.ndim not in {2, 3}:
            raise BadInputError(
                f"{name!r} has {image.ndim} dimensions, an image has 2 or 3",
                mend="leave it out of the pipeline's 'images'",
            )
        height, width = image.shape[-2:]
        if height > target[0] or width > target[1]:
            raise BadInputError(
                f"image {name!r} of {height} x {width} pixels is larger than the target of "
                f"{target[0]} x {target[1]}",
                mend=f"set target_height to {max(height, target[0])} and target_width to "
                f"{max(width, target[1])} or more",
            )
        centered = self._parameters.pad_style == "center"
        top = (target[0] - height) // 2 if centered else 0
        left = (target[1] - width) // 2 if centered else 0
        padded = np.zeros((*self._planes(image), *target), dtype=image.dtype)
        padded[..., top : top + height, left : left + width] = image
        return padded

    def _planes(self, image: Array) -> tuple[int, ...]:
        planes = image.shape[:-2]
        if not self._parameters.add_channel_dim:
            return planes
        if planes in {(), (1,)}:
            return (self._parameters.num_channels,)
        return planes
