"""Log lines are taken at once or dropped; nobody waits for whoever reads them."""

from __future__ import annotations

import io
import threading
import time

import pytest

from airflow_provider_lclstream.certified.log_sink import LogSink, loki_sink, stream_sink
from lclstreamer.core.errors import ConfigurationError, PermissionDeniedError


def test_lines_come_out_in_order():
    out = io.StringIO()
    sink = stream_sink(out)
    for number in range(2000):
        assert sink.offer(str(number))
    sink.close()
    assert out.getvalue().splitlines() == [str(number) for number in range(2000)]


def test_a_stuck_reader_costs_lines_and_no_time():
    stuck = threading.Event()
    sink = LogSink("stuck", lambda _lines: stuck.wait(20) or None, limit_lines=100)
    began = time.monotonic()
    taken = [sink.offer("x") for _ in range(5000)]
    assert time.monotonic() - began < 1
    assert taken.count(True) <= 100 + 500 + 1
    assert sink.dropped == taken.count(False) > 0
    stuck.set()
    sink.close()


def test_a_failing_reader_is_not_the_end():
    seen, fail = [], [True]

    def deliver(lines):
        if fail[0]:
            raise ConnectionError("gone")
        seen.extend(lines)

    sink = LogSink("flaky", deliver)
    sink.offer("lost")
    while sink.dropped == 0:
        time.sleep(0.01)
    fail[0] = False
    sink.offer("kept")
    sink.close()
    assert seen == ["kept"]


def test_loki_settings_are_checked(tmp_path):
    path = tmp_path / "loki.json"
    path.write_text('{"url": "ftp://x", "user": "u", "passwd": "p"}')
    with pytest.raises(PermissionDeniedError):
        loki_sink(path, "app")
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="not the URL of Loki"):
        loki_sink(path, "app")
    path.write_text('{"uri": "http://x"}')
    with pytest.raises(ConfigurationError, match="mistake"):
        loki_sink(path, "app")
