"""Bytes and durations, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.units import format_bytes, format_duration, parse_bytes, parse_duration


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("256 MiB", 256 * 2**20), ("256MiB", 256 * 2**20), ("1.5GB", 1_500_000_000), ("4096", 4096),
        (4096, 4096), ("0", 0), ("2k", 2000), ("1 ki", 1024), (" 3 TiB ", 3 * 2**40), ("7 b", 7),
    ],
)  # fmt: skip
def test_sizes(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "-1", -1, "1 XiB", "1,5 GB", "1e9", "five", "1 MiB 2"])
def test_what_is_no_size_is_refused_with_a_mend(text):
    with pytest.raises(BadInputError) as caught:
        parse_bytes(text)
    assert "256 MiB" in caught.value.mend


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("90 s", 90), ("1h30m", 5400), ("1h 30m", 5400), ("250ms", 0.25),
        ("2min", 120),
        ("1d", 86400), ("0.5", 0.5), (3, 3), (0.25, 0.25), ("1.5H", 5400),
    ],
)  # fmt: skip
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


def test_a_bare_number_counts_in_the_unit_of_its_setting():
    assert parse_duration("5", bare_unit_seconds=60) == 300
    assert parse_duration(5, bare_unit_seconds=60) == 300
    assert parse_duration("5s", bare_unit_seconds=60) == 5


@pytest.mark.parametrize("text", ["", "s", "-1", -1, "1 week", "1h5", "1:30", "nan", float("inf")])
def test_what_is_no_duration_is_refused_with_a_mend(text):
    with pytest.raises(BadInputError) as caught:
        parse_duration(text)
    assert "1h30m" in caught.value.mend


@given(st.integers(0, 2**60))
def test_a_formatted_size_reads_back_within_its_precision(count):
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, rel=0.06, abs=0.5)


@given(st.floats(0.001, 10**6))
def test_a_formatted_duration_reads_back_within_its_precision(seconds):
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.06, abs=0.001)


def test_what_people_see():
    assert format_bytes(1536) == "1.5 KiB"
    assert format_bytes(12) == "12 B"
    assert format_duration(5400) == "1h30m"
    assert format_duration(0.25) == "250ms"
    assert format_duration(75) == "1m15s"
