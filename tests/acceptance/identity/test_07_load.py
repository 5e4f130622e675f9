"""Issue 3, line 7: 200 requests a second under mutual TLS from 20 clients for a minute."""

from __future__ import annotations

import json
import sys

import pytest

CLIENTS, RATE, SECONDS = 20, 200, 60


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_two_hundred_requests_a_second_for_a_minute(repository, processes, figure):
    done = processes.run(
        [sys.executable, repository / "benchmarks" / "identity.py", "--clients", str(CLIENTS),
         "--rate", str(RATE), "--seconds", str(SECONDS)],
        timeout_seconds=150,
    )  # fmt: skip
    assert done.process.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["refused"] == 0, result["problems"]
    assert result["requests"] == RATE * SECONDS
    assert result["logged_requests"] == result["requests"]
    assert result["requests_per_second"] > 0.95 * RATE
    for name in ("requests_per_second", "requests", "refused", "median_ms", "p99_ms",
                 "handshake_ms", "handshake_without_our_check_ms"):  # fmt: skip
        figure(name, result[name])
