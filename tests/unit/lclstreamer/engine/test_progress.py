"""A log line at an interval."""

from __future__ import annotations

import logging
import time

from lclstreamer.engine.progress import ProgressLog


class Counted:
    def __init__(self):
        self.events = 0

    def counts(self):
        self.events += 10
        return {"events": self.events, "messages": 1, "bytes": 5, "skipped": 0, "rank": 0}


def test_lines_come_at_the_interval_and_end_with_the_stream(caplog, wait_for):
    began = time.monotonic()
    with caplog.at_level(logging.INFO), ProgressLog(Counted(), interval_seconds=0.05):
        wait_for(lambda: len(caplog.records) >= 3)
    count = len(caplog.records)
    assert count <= (time.monotonic() - began) / 0.05
    first = caplog.records[0]
    assert first.events == 20
    assert 10 / (time.monotonic() - began) <= first.events_per_second <= 200
    time.sleep(0.12)
    assert len(caplog.records) == count


def test_nothing_is_logged_for_a_short_stream(caplog):
    with caplog.at_level(logging.INFO), ProgressLog(Counted()):
        pass
    assert caplog.records == []
