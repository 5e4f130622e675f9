"""status.csv: one writer at a time, whole rows only, on disk before it is announced."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from pathlib import Path

import pytest

from airflow_provider_lclstream.psik.state_log import INFO_LIMIT_BYTES, StateLog, parse_row
from airflow_provider_lclstream.psik.states import JobState, Transition, TransitionRefusedError
from lclstreamer.core.errors import BadInputError, OutputError, TemporaryError

S = JobState


@pytest.fixture
def log(tmp_path: Path) -> StateLog:
    log = StateLog(tmp_path / "status.csv")
    log.append(0, S.new, '{"backend": {}}')
    return log


def test_rows_are_what_upstream_reads(log: StateLog) -> None:
    log.append(1, S.queued, at=time.time())
    log.append(1, S.active, "4711, with a comma")
    rows = [line.split(",", 3) for line in log.path.read_text().splitlines()]
    assert [row[1:] for row in rows] == [
        ["0", "new", '{"backend": {}}'],
        ["1", "queued", ""],
        ["1", "active", "4711, with a comma"],
    ]
    assert all(float(row[0]) > 1e9 for row in rows)
    assert log.last() == log.read()[-1]


def test_a_line_break_in_info_does_not_break_the_row(log: StateLog) -> None:
    log.append(1, S.queued, "first\nsecond\r\n1,2,completed,forged\x00")
    assert len(log.read()) == 2
    assert log.read()[1].info == "first second 1,2,completed,forged"


def test_a_long_info_is_cut(log: StateLog) -> None:
    log.append(1, S.queued, "ä" * 5000)
    info = log.read()[1].info
    assert len(info.encode()) <= INFO_LIMIT_BYTES
    assert info.endswith("…")
    assert log.append(1, S.active) is not None


def test_a_first_row_longer_than_the_tail_is_still_found(tmp_path: Path) -> None:
    path = tmp_path / "status.csv"
    path.write_text(f'1.0,0,new,{{"x": "{"y" * 20_000}"}}\n')
    assert StateLog(path).append(1, S.queued) is not None


def test_the_same_state_twice_is_written_once(log: StateLog) -> None:
    assert log.append(1, S.queued) is not None
    assert log.append(1, S.queued) is None
    assert len(log.read()) == 2


def test_of_two_who_saw_the_same_row_one_may_append(log: StateLog) -> None:
    seen = log.last()
    log.append(1, S.queued, after=seen)
    log.append(1, S.active)
    # Without `after` this would be a requeued attempt.
    assert log.append(1, S.queued, after=seen) is None
    assert len(log.read()) == 3


def test_a_refused_state_leaves_the_file_alone(log: StateLog) -> None:
    before = log.path.read_bytes()
    with pytest.raises(TransitionRefusedError, match="completed of attempt 7"):
        log.append(7, S.completed)
    assert log.path.read_bytes() == before


def test_a_clock_set_back_does_not_turn_the_history_around(log: StateLog) -> None:
    log.append(1, S.queued, at=time.time() + 100)
    log.append(1, S.active, at=5.0)
    times = [row.time for row in log.read()]
    assert times == sorted(times)


def test_a_torn_row_is_passed_over_and_taken_away(log: StateLog) -> None:
    log.append(1, S.queued)
    with log.path.open("ab") as stream:
        stream.write(b"1795206817.8,1,comple")
    assert log.last() == log.read()[-1] == Transition(log.read()[-1].time, 1, S.queued)
    log.append(1, S.active)
    assert [row.state for row in log.read()] == [S.new, S.queued, S.active]
    assert b"comple" not in log.path.read_bytes()


def test_rows_of_others_that_make_no_sense_are_skipped() -> None:
    assert parse_row("") is None
    assert parse_row("now,1,active,x") is None
    assert parse_row("1.0,1,sleeping,x") is None
    assert parse_row("1.0,1,active") == Transition(1.0, 1, S.active)


def _race(path: Path, barrier: object, won: object) -> None:
    log = StateLog(path)
    for jobndx in range(1, 21):
        barrier.wait(30)  # type: ignore[attr-defined]
        for state in (S.queued, S.active, S.failed):
            try:
                if log.append(jobndx, state) is not None:
                    with won.get_lock():  # type: ignore[attr-defined]
                        won.value += 1  # type: ignore[attr-defined]
            except TransitionRefusedError:
                continue


def test_writers_of_four_processes_never_disturb_each_other(log: StateLog) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(4), context.Value("i", 0)
    writers = [context.Process(target=_race, args=(log.path, barrier, won)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    history = log.read()
    assert len(history) == 1 + won.value
    assert history[-1].jobndx == 20
    assert history[-1].state is S.failed
    assert {row.jobndx for row in history} == set(range(21))


def test_a_full_disk_is_told_and_leaves_whole_rows(log: StateLog) -> None:
    log.append(1, S.queued)
    before = log.path.read_bytes()
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # Room for half a row: the write is cut short, as on a disk that fills up.
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limit[1]))
        with pytest.raises(OutputError, match="cannot be recorded"):
            log.append(1, S.active, "4711")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, was)
    assert log.path.read_bytes() == before
    assert log.append(1, S.active, "4711") is not None


def test_a_lock_that_is_never_released_ends_in_a_clear_error(log: StateLog) -> None:
    with log.locked(), pytest.raises(TemporaryError, match="not free"), log.locked(0.05):
        pass


def test_a_removed_job_is_told(tmp_path: Path) -> None:
    log = StateLog(tmp_path / "gone" / "status.csv")
    assert log.last() is None
    assert log.read() == []
    with pytest.raises(BadInputError, match="gone"):
        log.append(0, S.new)
