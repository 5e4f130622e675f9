"""Metrics in Prometheus' text format."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lclstreamer.core.exposition import Counts, exposition

SUBMITTED = "lclstream_jobs_submitted_total"


def test_what_is_counted_is_read_again_whatever_the_labels():
    counts = Counts()
    odd = 'a"b\\c\nd'
    counts.add(SUBMITTED, odd, "taken")
    counts.add(SUBMITTED, odd, "taken", by=2)
    counts.add(SUBMITTED, "default", "refused")
    [family] = text_string_to_metric_families(exposition(counts.samples()))
    found = {tuple(sample.labels.values()): sample.value for sample in family.samples}
    assert found == {(odd, "taken"): 3, ("default", "refused"): 1}
    assert family.type == "counter"


def test_large_numbers_keep_their_digits():
    assert "lclstream_buffer_queued_bytes 123456789012345\n" in exposition(
        {"lclstream_buffer_queued_bytes": {(): 123456789012345}}
    )


def test_only_metrics_of_the_list_and_all_their_labels():
    with pytest.raises(KeyError):
        exposition({"lclstream_of_mine": {(): 1}})
    with pytest.raises(ValueError, match="zip"):
        exposition({SUBMITTED: {("default",): 1}})
