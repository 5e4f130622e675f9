"""Pipelines that only batch."""

from __future__ import annotations

from collections.abc import Iterator

from lclstreamer.core.events import Batch, Event
from lclstreamer.parameters.pipelines import (
    BatchProcessingPipelineParameters,
    NoOpProcessingPipelineParameters,
)
from lclstreamer.pipelines.stacking import stack_events


class BatchProcessingPipeline:
    """Stacks consecutive events; a batch is closed early where an array changes its shape."""

    def __init__(self, parameters: BatchProcessingPipelineParameters) -> None:
        self._batch_size = parameters.batch_size

    def process(self, events: Iterator[Event], *, run: str, rank: int) -> Iterator[Batch]:
        """Yield batches until the events end; the last may be short."""
        return stack_events(events, self._batch_size, run=run, rank=rank)


class NoOpProcessingPipeline:
    """Passes every event on as a batch of one."""

    def __init__(self, parameters: NoOpProcessingPipelineParameters) -> None:
        del parameters  # has none; every kind is made in the same way

    def process(self, events: Iterator[Event], *, run: str, rank: int) -> Iterator[Batch]:
        """Yield one batch per event."""
        return stack_events(events, 1, run=run, rank=rank)
