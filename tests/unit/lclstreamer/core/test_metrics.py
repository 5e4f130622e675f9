"""Metric names have one form."""

from __future__ import annotations

import re

from lclstreamer.core.metrics import BY_NAME, METRICS

FORM = re.compile(r"lclstream_[a-z]+_[a-z]+(_[a-z]+)*")


def test_names_have_one_form_and_stand_once():
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert FORM.fullmatch(metric.name), metric.name
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.help.endswith("."), metric.name
