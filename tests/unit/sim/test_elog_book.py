"""The minimal Elog publishes what the real one publishes: the captured messages are the measure."""

from __future__ import annotations

import json

import pytest

from airflow_provider_lclstream.elog.models import RunEventKind, read_message
from airflow_provider_lclstream.sim.elog_book import ElogBook, NoSuchPageError, Published
from airflow_provider_lclstream.sim.elog_routes import answer
from lclstreamer.core.errors import BadInputError

EXPERIMENT = "mfxx00126"


@pytest.fixture
def book() -> ElogBook:
    book = ElogBook()
    book.register_experiment(EXPERIMENT, "mfx")
    return book


def shape(value):
    """The keys and types of a document, nested."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def captured(shared_data, name: str) -> dict:
    (path,) = (shared_data / "data" / "elog").glob(f"{name}_*.json")
    return json.loads(path.read_text())


def through_json(message: Published) -> dict:
    return json.loads(json.dumps(message.envelope))


@pytest.mark.shared_data
def test_messages_have_the_form_of_the_captured_ones(book, shared_data):
    (switch,) = book.switch_experiment("MFX", EXPERIMENT)
    _, (start,) = book.start_run(EXPERIMENT)
    _, (opened,) = book.register_file(EXPERIMENT, 1, "/mfx/a.xtc2", "/cds/mfx/a.xtc2")
    _, (params,) = book.add_run_params(EXPERIMENT, {"MFX:SND:DLY.RBV": -0.35})
    _, (end,) = book.end_run(EXPERIMENT)
    for name, message in (("10", switch), ("01", start), ("02", params), ("03", end),
                          ("05", opened)):  # fmt: skip
        real = captured(shared_data, name)
        assert message.topic == real["topic"]
        ours, theirs = shape(through_json(message)), shape(real["value"])
        for document in (ours["value"], theirs["value"]):
            document.pop("sample", None)  # set by people, may be absent
            if "params" in document:
                document["params"] = sorted(set(document["params"].values()) & {"float"})
            if "file_catalog" in document:
                document["file_catalog"] = [set(document["file_catalog"][0])]
        if name == "01":
            ours["value"]["params"] = theirs["value"]["params"] = {}
        assert ours == theirs


def test_dots_in_parameter_names_are_escaped_and_read_back(book):
    book.start_run(EXPERIMENT)
    _, (message,) = book.add_run_params(EXPERIMENT, {"A.B": 1, "C$D": 2})
    assert set(message.envelope["value"]["params"]) == {"A\uff0eB", "C\uff04D"}
    event = read_message(json.dumps(message.envelope))
    assert event is not None
    assert dict(event.params) == {"A.B": 1, "C$D": 2}


def test_an_open_run_is_ended_by_the_next(book):
    book.start_run(EXPERIMENT)
    _, messages = book.start_run(EXPERIMENT)
    kinds = [read_message(json.dumps(m.envelope)).kind for m in messages]
    assert kinds == [RunEventKind.RUN_END, RunEventKind.RUN_START]
    assert [m.envelope["value"]["num"] for m in messages] == [1, 2]


def test_a_run_can_be_ended_twice_with_two_times(book):
    book.start_run(EXPERIMENT)
    _, (first,) = book.end_run(EXPERIMENT)
    _, (second,) = book.end_run(EXPERIMENT)
    assert first.envelope["value"]["duration"] <= second.envelope["value"]["duration"]


def test_new_files_have_naive_dates(book):
    book.start_run(EXPERIMENT)
    document, _ = book.register_file(EXPERIMENT, 1, "/a", "/a")
    assert "+" not in document["create_timestamp"]
    assert document["create_timestamp"].endswith(".000001")


def test_what_is_not_there_is_said(book):
    with pytest.raises(NoSuchPageError, match="no experiment 'nope'"):
        book.start_run("nope")
    with pytest.raises(NoSuchPageError, match="no run 3"):
        book.run(EXPERIMENT, 3)
    with pytest.raises(NoSuchPageError, match="no experiment is active"):
        book.active_experiment("MFX")
    book.start_run(EXPERIMENT, run_number=5)
    with pytest.raises(BadInputError, match="has a run 5 already"):
        book.start_run(EXPERIMENT, run_number=5)


def test_ids_grow_with_time(book):
    ids = [book.start_run(EXPERIMENT)[0]["_id"] for _ in range(300)]
    assert ids == sorted(set(ids))
    assert all(len(oid) == 24 for oid in ids)


def test_routes(book):
    base = f"/lgbk/{EXPERIMENT}/ws"
    answer(book, "/lgbk/ws/switch_experiment",
           {"experiment_name": EXPERIMENT, "instrument_name": "mfx"}, {})  # fmt: skip
    started = answer(book, f"/run_control/{EXPERIMENT}/ws/start_run", {"run_type": "DARK"}, {})
    assert started.value["type"] == "DARK"
    for name in ("xtc/a-r0001-s000-c000.xtc2", "xtc/smalldata/a-r0001-s000-c000.smd.xtc2"):
        answer(book, f"{base}/register_file", {}, {"run_num": 1, "path": f"/mfx/{name}"})
    assert answer(book, f"{base}/runs", {}, {}).value[0]["num"] == 1
    assert answer(book, f"{base}/runs/1", {}, {}).value["num"] == 1
    assert answer(book, f"{base}/current_run", {}, {}).value["num"] == 1
    assert len(answer(book, f"{base}/1/files", {}, {}).value) == 2
    live = answer(book, f"{base}/1/current_files_for_live_mode", {}, {}).value
    assert live == ["/mfx/xtc/a-r0001-s000-c000.xtc2"]
    active = answer(book, "/lgbk/ws/activeexperiment_for_instrument_station",
                    {"instrument_name": "MFX"}, {}).value  # fmt: skip
    assert active["name"] == EXPERIMENT
    for path, query, body in (
        (f"{base}/nothing", {}, {}),
        (f"{base}/register_file", {}, {"path": "/x"}),
        (f"/run_control/{EXPERIMENT}/ws/start_run", {"run_num": "x"}, {}),
    ):
        with pytest.raises(BadInputError):
            answer(book, path, query, body)
