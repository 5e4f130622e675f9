"""Stack events into batches: equal shapes together, gaps filled, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.events import Batch, Event

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Layout = tuple[tuple[int, ...], np.dtype[Any]]


def missing_value(dtype: np.dtype[Any]) -> Any:
    """What stands in a batch for a value that an event lacks.

    NaN for floating-point and complex numbers, NaT for times, 0 for integers, the empty text.
    """
    return {"f": np.nan, "c": np.nan, "m": "NaT", "M": "NaT", "U": "", "S": b""}.get(dtype.kind, 0)


class BatchStack:
    """Collects the events of one batch at a time.

    An array that an event lacks (``None``, or not there at all) is filled with `missing_value`.
    One that no event had so far is left out, because its shape is unknown.
    """

    def __init__(self, run: str, rank: int) -> None:
        self._run = run
        self._rank = rank
        self._sequence = 0
        self._events: list[Event] = []
        self._layouts: dict[str, Layout] = {}
        self._known_layouts: dict[str, Layout] = {}

    def __len__(self) -> int:
        return len(self._events)

    def accepts(self, event: Event) -> bool:
        """Whether the event's arrays have the shapes and types of those already here."""
        return all(
            name not in self._layouts or _same_layout(self._layouts[name], _layout(value))
            for name, value in event.data.items()
            if value is not None
        )

    def add(self, event: Event) -> None:
        """Put an event at the end of the batch; it must be acceptable."""
        for name, value in event.data.items():
            if value is not None:
                self._layouts.setdefault(name, _layout(value))
        self._events.append(event)

    def take(self) -> Batch:
        """Hand out the batch and begin the next."""
        self._known_layouts.update(self._layouts)
        names = dict.fromkeys(name for event in self._events for name in event.data)
        batch = Batch(
            data={name: self._column(name) for name in names if name in self._known_layouts},
            event_ids=np.array([event.event_id for event in self._events], dtype=np.uint64),
            run=self._run,
            rank=self._rank,
            sequence=self._sequence,
        )
        self._sequence += 1
        self._events = []
        self._layouts = {}
        return batch

    def _column(self, name: str) -> Array:
        rows = [event.data.get(name) for event in self._events]
        shape, dtype = self._known_layouts[name]
        filled = [np.full(shape, missing_value(dtype), dtype) if r is None else r for r in rows]
        if len(filled) == 1:
            return np.asarray(filled[0])[np.newaxis]
        return np.stack(filled)


def _layout(value: Array) -> Layout:
    array = np.asarray(value)
    return array.shape, array.dtype


def _same_layout(one: Layout, other: Layout) -> bool:
    if one[1].kind == other[1].kind and one[1].kind in "US":
        return one[0] == other[0]  # texts differ in length, which numpy calls a type
    return one == other


def stack_events(
    events: Iterator[Event], batch_size: int, *, run: str, rank: int
) -> Iterator[Batch]:
    """Yield batches of ``batch_size`` events, shorter at a change of shape and at the end.

    Raises:
        BadInputError: an array holds Python objects, which no message can carry.
    """
    stack = BatchStack(run, rank)
    for event in events:
        _refuse_objects(event)
        if len(stack) and not stack.accepts(event):
            yield stack.take()
        stack.add(event)
        if len(stack) >= batch_size:
            yield stack.take()
    if len(stack):
        yield stack.take()


def _refuse_objects(event: Event) -> None:
    for name, value in event.data.items():
        if value is not None and np.asarray(value).dtype.hasobject:
            raise BadInputError(
                f"data source {name!r} yields Python objects, not numbers or text, "
                f"in event {event.event_id}",
                mend="choose a field of the detector that is an array, or give the data source a "
                "dtype",
            )
