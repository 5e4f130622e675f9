"""What of a job's logs becomes a line in its task's log, and how much."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_lclstream.hooks.log_tail import (
    BEGIN_BYTES,
    BYTES_PER_MINUTE,
    LINE_BYTES,
    QUIET_SECONDS,
    LogTail,
)

NAME = "stdout.1"


class Log:
    """A log that grows, and a clock that is turned by hand."""

    def __init__(self):
        self.content, self.now = bytearray(), 0.0
        self.tail = LogTail("1.5", clock=lambda: self.now)

    def grow(self, text, *, seconds=1.0, is_last=False):
        """What is shown once this was written and some time is over."""
        self.content += text.encode() if isinstance(text, str) else text
        self.now += seconds
        shown = []
        for piece in self.tail.pieces({NAME: len(self.content)}, is_last=is_last):
            content = bytes(self.content[piece.offset : piece.offset + piece.length])
            shown += self.tail.lines(piece, content)
        return shown


@pytest.fixture
def log():
    return Log()


def test_whole_lines_appear_as_they_come(log):
    assert log.grow("") == []
    assert log.grow("one\ntw") == [f"{NAME}: one"]
    assert log.grow("") == []
    assert log.grow("o\n\nthree") == [f"{NAME}: two"]
    assert log.grow("", is_last=True) == [f"{NAME}: three"]


def test_a_progress_bar_shows_where_it_stands(log):
    assert log.grow("10 %\r50 %\r90 %\nwindows\r\n") == [f"{NAME}: 90 %", f"{NAME}: windows"]


def test_bytes_that_are_no_text_and_very_long_lines_are_shown(log):
    (shown,) = log.grow(b"\xff\xfe!\n")
    assert shown.endswith("\ufffd\ufffd!")
    shown = log.grow(b"x" * (2 * LINE_BYTES + 1))
    assert [len(line) - len(f"{NAME}: ") for line in shown] == [LINE_BYTES, LINE_BYTES, 1]


def test_of_a_log_that_is_there_already_only_the_end_is_shown(log):
    line = "0123456789abcde\n"
    shown = log.grow(line * 10_000)
    assert shown[0].startswith("… the first 140.")
    assert "left out, see the job's page" in shown[0]
    assert BEGIN_BYTES - 16 <= 16 * (len(shown) - 1) <= BEGIN_BYTES
    assert {f"{NAME}: {line.strip()}"} == set(shown[1:]), "no line is cut"


def test_a_job_that_prints_without_end_fills_no_log(log):
    minutes, shown = 30, []
    log.grow("")
    for _ in range(60 * minutes):
        shown += log.grow("0123456789abcde\n" * 1000)
    lines = [line for line in shown if "left out" not in line]
    assert 16 * len(lines) <= BYTES_PER_MINUTE * (minutes + 1)
    assert 16 * len(lines) >= BYTES_PER_MINUTE * (minutes - 1), "what is allowed is used"
    assert len(shown) - len(lines) <= 5 * minutes, "what is left out is not told all the time"
    last = log.grow("the end\n", is_last=True)
    assert last[-1] == f"{NAME}: the end"


def test_after_a_burst_the_newest_is_shown(log):
    log.grow("first\n")
    shown = log.grow("middle, of 30 bytes at the end\n" * 10_000 + "newest\n")
    assert "left out" in shown[0]
    assert shown[-1] == f"{NAME}: newest"
    assert log.grow("and more\n", seconds=60) == [f"{NAME}: and more"]


def test_a_silent_job_is_looked_at_less_often(log):
    log.grow("hello\n")
    assert log.tail.pause_seconds == QUIET_SECONDS[0]
    for _ in range(20):
        log.grow("")
    assert log.tail.pause_seconds == QUIET_SECONDS[1]
    log.grow("again\nand a beginning")
    assert log.tail.pause_seconds == QUIET_SECONDS[0]
    for _ in range(20):
        assert log.grow("") == [], "a line that is never finished is not read again and again"
        assert list(log.tail.pieces({NAME: len(log.content)}, is_last=False)) == []
    assert log.tail.pause_seconds == QUIET_SECONDS[1]
    assert log.grow("", is_last=True) == [f"{NAME}: and a beginning"]


def test_only_the_script_of_the_present_attempt_is_shown(log):
    facts = SimpleNamespace(jobndx=2, logs=("console", "stderr.1", "stdout.1", "stdout.2"))
    assert log.tail.names(facts) == ["stdout.2"]
