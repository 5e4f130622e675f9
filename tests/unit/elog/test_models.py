"""The Elog's messages: the captured ones, and what can be wrong with others."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_lclstream.elog.models import (
    MalformedMessageError,
    RunEventKind,
    read_message,
    read_run_number,
    read_time,
    run_event_of,
)

RUN = {
    "_id": "6b00afd2050858c8cd1fedca",
    "num": 17,
    "type": "DATA",
    "begin_time": "2026-11-20T20:38:42.514000+00:00",
    "end_time": None,
    "params": {},
}


def envelope(value, crud="Create", experiment="mfxx00126") -> str:
    return json.dumps({"experiment_name": experiment, "CRUD": crud, "value": value})


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("01", RunEventKind.RUN_START),
        ("02", RunEventKind.RUN_PARAMS),
        ("03", RunEventKind.RUN_END),
        ("04", RunEventKind.RUN_END),
        ("05", RunEventKind.FILE_OPENED),
        ("06", RunEventKind.FILE_AVAILABLE),
        ("07", None),
        ("10", RunEventKind.EXPERIMENT_SWITCH),
        ("11", RunEventKind.STANDBY),
        ("12", None),
        ("13", None),
        ("14", None),
        ("15", None),
        ("16", None),
        ("17", None),
    ],
)
def test_captured_messages(shared_data, number, kind):
    (path,) = (shared_data / "data" / "elog").glob(f"{number}_*.json")
    event = read_message(json.dumps(json.loads(path.read_text())["value"]))
    assert (event.kind if event else None) == kind


@pytest.mark.shared_data
def test_a_captured_run_is_read_in_full(shared_data):
    path = shared_data / "data" / "elog" / "03_runs_update__run_end.json"
    event = read_message(json.dumps(json.loads(path.read_text())["value"]))
    assert event is not None
    assert (event.experiment, event.run_number, event.run_type) == ("mfxx00126", 17, "DATA")
    assert event.sample == "lysozyme_jet_A"
    assert event.detectors == ("epics", "jungfrau", "timing")
    assert event.params["MFX:SND:DLY.RBV"] == -0.35
    assert len(event.files) == 4
    assert event.end_time == datetime(2026, 11, 20, 20, 38, 44, 716000, tzinfo=UTC)
    assert json.loads(event.model_dump_json())["run_oid"] == "6b00afd2050858c8cd1fedca"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (
            "2026-11-20T20:38:42.514000+00:00",
            datetime(2026, 11, 20, 20, 38, 42, 514000, tzinfo=UTC),
        ),
        ("2026-11-18T17:00:00+00:00", datetime(2026, 11, 18, 17, tzinfo=UTC)),
        ("2026-11-20T20:36:01.000001", datetime(2026, 11, 20, 20, 36, 1, 1, tzinfo=UTC)),
        ("2026-11-18T17:00:00.000Z", datetime(2026, 11, 18, 17, tzinfo=UTC)),
        ("2026-11-18T09:00:00-08:00", datetime(2026, 11, 18, 17, tzinfo=UTC)),
        (None, None),
    ],
)
def test_three_dialects_of_dates(text, moment):
    assert read_time(text) == moment


@pytest.mark.parametrize(("value", "number"), [(17, 17), (17.0, 17), ("17", 17), ("0017", 17)])
def test_run_numbers_come_in_three_types(value, number):
    assert read_run_number(value) == number
    event = read_message(envelope({**RUN, "num": value}))
    assert event is not None
    assert event.run_number == number


@pytest.mark.parametrize("value", [None, True, "x", "", 1.5, -1, float("nan"), [], {}, "1e400"])
def test_other_run_numbers_are_refused(value):
    with pytest.raises(MalformedMessageError, match="cannot be used"):
        read_message(envelope({**RUN, "num": value}))


def test_bare_nan_is_read():
    text = envelope({**RUN, "params": {"x": float("nan"), "y": float("inf")}}, "Update")
    assert "NaN" in text
    event = read_message(text)
    assert event is not None
    assert event.kind is RunEventKind.RUN_PARAMS


def test_a_run_without_crud_is_understood_by_its_content():
    bare = json.dumps({"experiment_name": "mfxx00126", "value": RUN})
    event = read_message(bare)
    assert event is not None
    assert event.kind is RunEventKind.RUN_START


def test_a_sample_may_be_expanded():
    event = run_event_of("mfxx00126", {**RUN, "sample": {"_id": "x", "name": "jet"}})
    assert event.sample == "jet"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"not json",
        b"[]",
        b'"text"',
        b"17",
        b'{"experiment_name": "mfxx00126", "value": 3}',
        envelope({key: value for key, value in RUN.items() if key != "_id"}),
        envelope({**RUN, "_id": 5}),
        envelope({**RUN, "begin_time": "yesterday"}),
        envelope({**RUN, "begin_time": 5}),
        envelope({**RUN, "params": [1]}),
        envelope({**RUN, "file_catalog": ["x"]}),
        envelope(RUN, experiment=""),
        envelope(RUN, experiment=7),
        envelope({"path": "/a", "run_num": "x"}),
        envelope({"path": "", "run_num": 1}),
        envelope({"path": "/a", "run_num": 1, "locations": ["S3DF"]}),
        '{"value": {"instrument": "MFX", "station": "x"}}',
        "[" * 100_000,
    ],
)
def test_malformed_messages_say_what_and_show_themselves(raw):
    with pytest.raises(MalformedMessageError) as caught:
        read_message(raw)
    assert "it reads" in caught.value.problem
    assert len(caught.value.problem) < 700


def test_deleted_documents_start_nothing():
    assert read_message(envelope(RUN, "Delete")) is None
    assert read_message('{"cache_rebuild": true}') is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*RUN, "path", "run_num", "instrument", "station",
                                        "locations", "file_catalog", "sample"]), json_values),
       json_values)  # fmt: skip
def test_nothing_that_is_json_crashes_the_reader(value, experiment):
    text = json.dumps({"experiment_name": experiment, "CRUD": "Update", "value": value})
    try:
        read_message(text)
    except MalformedMessageError as refusal:
        assert refusal.exit_code == 65  # noqa: PT017
