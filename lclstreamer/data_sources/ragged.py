"""What detectors return, as plain arrays with names.

A digitizer answers with dictionaries of lists of arrays of different lengths. Here each leaf gets
a name, and a list of arrays of different lengths becomes its values, joined, and their lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lclstreamer.core.events import Array


def name_parts(value: Mapping[Any, Any]) -> dict[str, Array]:
    """Give each array of a nested dictionary a dotted name.

    ``{0: {0: (starts, windows)}}`` (the found peaks of a digitizer) becomes ``0.0.starts``,
    ``0.0.values`` and ``0.0.lengths``.
    """
    return dict(_leaves(value, ""))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Array]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    elif _is_peaks(value):
        yield f"{name}.starts", np.asarray(value[0])
        yield from _joined(value[1], name)
    elif _is_ragged(value):
        yield from _joined(value, name)
    else:
        yield name, np.asarray(value)


def _is_ragged(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(part, np.ndarray) and part.ndim for part in value)
    )


def _is_peaks(value: Any) -> bool:
    """A pair of start positions and the windows that begin there."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(part, list) for part in value)
        and len(value[0]) == len(value[1])
        and all(isinstance(window, np.ndarray) for window in value[1])
    )


def _joined(parts: Sequence[Array], name: str) -> Iterator[tuple[str, Array]]:
    yield f"{name}.values", np.concatenate(parts) if len(parts) else np.empty(0)
    yield f"{name}.lengths", np.asarray([len(part) for part in parts], dtype=np.int64)
