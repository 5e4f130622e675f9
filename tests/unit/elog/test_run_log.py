"""What is known of a run does not depend on the order or number of its messages."""

import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_lclstream.elog.models import RunEvent, RunEventKind, read_message
from airflow_provider_lclstream.elog.run_log import RunLog, RunRecord

OID = "6b00afd2050858c8cd1fedca"
XTC, SMD = "/mfx/x/xtc/x-r0017-s000-c000.xtc2", "/mfx/x/xtc/smalldata/x-r0017-s000-c000.smd.xtc2"


def run_message(crud="Create", **facts) -> RunEvent:
    value = {"_id": OID, "num": 17, "type": "DATA", "begin_time": "2026-11-20T20:38:42+00:00",
             "end_time": None, "params": {}, **facts}  # fmt: skip
    text = json.dumps({"experiment_name": "mfxx00126", "CRUD": crud, "value": value})
    event = read_message(text)
    assert event is not None
    return event


def file_message(path, **facts) -> RunEvent:
    value = {"path": path, "run_num": 17, "gen": 2, **facts}
    event = read_message(json.dumps({"experiment_name": "mfxx00126", "value": value}))
    assert event is not None
    return event


START = run_message()
PARAMS = run_message("Update", params={"SmallData": "running"})
DONE = run_message("Update", params={"SmallData": "done", "n": 1})
END = run_message("Update", end_time="2026-11-20T20:38:44+00:00", duration=2.0, file_catalog=[])
LATER_END = run_message("Update", end_time="2026-11-20T20:39:44+00:00", duration=62.0)
OPENED = file_message(XTC)
ARRIVED = file_message(XTC, locations={"S3DF": {"asof": "x"}})
SMALL = file_message(SMD)
STORY = [START, PARAMS, DONE, END, LATER_END, OPENED, ARRIVED, SMALL]


def merged(events) -> RunRecord:
    log = RunLog(watched_params={"SmallData"})
    after = None
    for event in events:
        _, after = log.preview(event)
        log.accept(after)
    assert after is not None
    return after


@given(st.permutations(STORY), st.integers(0, 10**6))
def test_order_and_repetition_do_not_matter(events, seed):
    repeated = random.Random(seed).choices(STORY, k=5)
    assert merged([*events, *repeated]) == merged(STORY)


def test_every_pair_gives_the_same_in_both_orders():
    for first, second in itertools.combinations(STORY, 2):
        assert merged([first, second]) == merged([second, first])


def test_an_end_absorbs_and_implies_the_start():
    record = merged([END, START])
    assert record.is_known
    assert record.is_closed
    assert merged([END, LATER_END]).end_time == END.end_time


def test_a_file_alone_makes_no_run_known():
    assert not merged([OPENED]).is_known
    assert merged([OPENED, START]).files == {XTC: frozenset()}


def test_all_files_means_an_ended_run_with_every_data_file_there():
    assert merged([START, ARRIVED]).first_file_at("S3DF")
    assert not merged([START, ARRIVED]).all_files_at("S3DF")
    assert merged([START, ARRIVED, SMALL, END]).all_files_at("S3DF")
    assert not merged([START, ARRIVED, SMALL, END]).all_files_at("NERSC")
    other = file_message(XTC.replace("s000", "s001"))
    assert not merged([START, ARRIVED, other, END]).all_files_at("S3DF")
    # The Elog's own all_present is true of a run without files; ours is not.
    assert not merged([START, END]).all_files_at("S3DF")


def test_a_value_that_a_parameter_had_is_not_forgotten():
    assert ("SmallData", "done") in merged([DONE, PARAMS]).params
    assert ("n", "1") not in merged([DONE]).params


def test_a_new_run_of_the_same_number_replaces_the_old_one():
    newer = run_message(_id="7" + OID[1:])
    assert merged([END, newer]).oid == newer.run_oid
    assert not merged([END, newer]).is_closed
    assert merged([newer, END]).oid == newer.run_oid


def test_the_log_is_bounded():
    log = RunLog(limit_runs=10)
    for number in range(1, 100):
        log.accept(log.preview(run_message(num=number))[1])
        log.switch(switch(f"exp{number}", "MFX"))
    assert len(log) == 10


def switch(experiment: str, instrument: str) -> RunEvent:
    return RunEvent(
        kind=RunEventKind.EXPERIMENT_SWITCH, experiment=experiment, instrument=instrument
    )


def test_the_instrument_is_as_last_switched_else_by_name():
    log = RunLog()
    assert log.instrument_of("mfxx00126") == "MFX"
    log.switch(switch("mfxx00126", "CXI"))
    assert log.instrument_of("mfxx00126") == "CXI"
    before, _ = log.preview(START)
    assert before.instrument == "CXI"


@pytest.mark.shared_data
def test_the_captured_run_ends_closed_with_all_its_files(shared_data):
    log = RunLog()
    lines = (shared_data / "data" / "elog" / "run17_sequence.jsonl").read_text().splitlines()
    messages = [json.dumps(json.loads(line)["value"]) for line in lines]
    events = [event for event in map(read_message, messages) if event and event.run_number]
    assert len(events) == 12
    for event in events:
        log.accept(log.preview(event)[1])
    _, record = log.preview(events[0])
    assert record.is_closed
    assert record.all_files_at("S3DF")
