"""What a digitizer returns, as arrays with names."""

from __future__ import annotations

import numpy as np
import pytest

from lclstreamer.data_sources.ragged import name_parts


def as_lists(parts):
    return {name: array.tolist() for name, array in parts.items()}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 1.5, "b": {"c": [1, 2]}}, {"a": 1.5, "b.c": [1, 2]}),
        (
            {0: {0: ([3, 9], [np.array([1, 2]), np.array([5])])}},
            {"0.0.starts": [3, 9], "0.0.values": [1, 2, 5], "0.0.lengths": [2, 1]},
        ),
        (
            {1: {0: ([], [])}},
            {"1.0.starts": [], "1.0.values": [], "1.0.lengths": []},
        ),
        (
            {0: {"times": np.arange(3), 0: np.arange(3) * 2}},
            {"0.times": [0, 1, 2], "0.0": [0, 2, 4]},
        ),
        (
            {0: {0: [np.array([1.0]), np.array([2.0, 3.0])]}},
            {"0.0.values": [1.0, 2.0, 3.0], "0.0.lengths": [1, 2]},
        ),
        ({}, {}),
    ],
)
def test_every_leaf_gets_a_name(value, expected):
    assert as_lists(name_parts(value)) == expected


def test_joined_windows_can_be_taken_apart_again():
    windows = [np.arange(n, dtype=np.uint16) for n in (4, 1, 7)]
    parts = name_parts({0: {0: ([0, 10, 20], windows)}})
    split = np.split(parts["0.0.values"], np.cumsum(parts["0.0.lengths"])[:-1])
    assert [part.tolist() for part in split] == [window.tolist() for window in windows]
    assert parts["0.0.values"].dtype == np.uint16
