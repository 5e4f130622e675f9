"""The counts are asked for by a thread of their own, while outcomes are counted."""

from __future__ import annotations

import sys
from collections import Counter
from types import SimpleNamespace

from airflow_provider_lclstream.arp.serve import DeadLetters, KafkaSettings, RunEventService


def test_an_outcome_may_be_counted_between_any_two_lines():
    dispatcher = SimpleNamespace(counts=Counter(started=2, ignored=3))
    service = RunEventService(KafkaSettings("nowhere", ()), dispatcher, DeadLetters(None))
    service.rejected = 1
    before = sys.gettrace()

    def count_another(_frame, _event, _argument):
        dispatcher.counts[f"kind {len(dispatcher.counts)}"] = 0
        return count_another

    sys.settrace(count_another)
    try:
        counts = service.counts
    finally:
        sys.settrace(before)
    assert counts == {"started": 2, "ignored": 3, "rejected": 1}
    assert len(dispatcher.counts) > 2
