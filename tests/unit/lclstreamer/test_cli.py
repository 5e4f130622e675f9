"""The command line: verbs, exit codes, what goes to which stream."""

from __future__ import annotations

import json

import pytest

from lclstreamer import cli

CONFIGURATION = """
source_identifier: ""
skip_incomplete_events: true
event_source: {type: InternalEventSource, number_of_events_to_generate: 25}
data_sources: {id: {type: EventId}}
processing_pipeline: {type: BatchProcessingPipeline, batch_size: 10}
data_serializer: {type: NumpyBinarySerializer, use_compression: false}
data_handlers: [{type: BinaryFileWritingDataHandler, write_directory: out, file_suffix: npz}]
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """``run(word, …)`` gives (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_configure_logging", lambda **_: None)
    monkeypatch.setattr(cli, "_stop_on_signals", lambda: None)
    (tmp_path / "run.yaml").write_text(CONFIGURATION)
    (tmp_path / "psana1.yaml").write_text(
        CONFIGURATION.replace("Internal", "Psana1").replace(
            ", number_of_events_to_generate: 25", ""
        )
    )
    (tmp_path / "wrong.yaml").write_text(CONFIGURATION.replace("batch_size: 10", "batch_size: 0"))

    def call(*words):
        try:
            cli.main(words)
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.mark.parametrize("words", [("run", "-c", "run.yaml"), ("-c", "run.yaml")])
def test_run_with_and_without_the_verb(run, tmp_path, words):
    code, out, err = run(*words)
    assert (code, out) == (0, "")
    assert "rank 0 of 1: completed: 25 events in 3 messages" in err
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_the_number_of_events(run):
    assert json.loads(run("-c", "run.yaml", "-n", "7", "--json")[1])["events"] == 7
    assert json.loads(run("-c", "run.yaml", "--num-events", "0", "--json")[1])["events"] == 25


def test_json_and_report_say_the_same(run, tmp_path):
    code, out, err = run("-c", "run.yaml", "--json", "--report", "reports")
    assert (code, err) == (0, "")
    (path,) = (tmp_path / "reports").iterdir()
    assert json.loads(out) == json.loads(path.read_text())
    assert json.loads(out)["confirmed_messages"] == 3


def test_the_default_file(run, tmp_path):
    (tmp_path / "lclstreamer.yaml").write_text(CONFIGURATION)
    assert run("run")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("-c", "nothing.yaml"), 78, "cannot read the configuration file"),
        (("-c", "wrong.yaml"), 78, "wrong.yaml:6:66: processing_pipeline.batch_size"),
        (("-c", "psana1.yaml"), 69, "cannot be read yet"),
        (("-c", "run.yaml", "-n", "-1"), 64, "num-events"),
        (("-c", "run.yaml", "-n", "many"), 64, "num-events"),
        (("-c", "run.yaml", "--report", "run.yaml/x"), 73, "--report"),
        (("nonsense",), 64, "nonsense"),
        (("run", "--nonsense"), 64, "nonsense"),
        (("check", "wrong.yaml"), 78, "wrong.yaml:6:66"),
        ((), 64, "Usage"),
    ],
)
def test_mistakes(run, words, code, says):
    found, out, err = run(*words)
    assert found == code
    assert says in out + err
    assert "Traceback" not in err


def test_a_mistake_as_json(run):
    code, out, err = run("-c", "wrong.yaml", "--json")
    assert (code, err) == (78, "")
    assert json.loads(out)["error"]["errors"][0]["path"] == "processing_pipeline.batch_size"


def test_an_error_at_the_start_is_in_the_report_too(run, tmp_path):
    code, out, _ = run("-c", "psana1.yaml", "--report", "r", "--json")
    assert json.loads(out)["error"]["exit_code"] == code == 69
    report = json.loads((tmp_path / "r" / "report.r0000.json").read_text())
    assert (report["state"], report["exit_code"], report["events"]) == ("failed", 69, 0)


def test_check(run):
    assert run("check", "run.yaml") == (0, "run.yaml is right\n", "")
    code, out, _ = run("check", "psana1.yaml", "--json")
    document = json.loads(out)
    assert (code, document["valid"]) == (0, True)
    assert "psana 1" in document["lacking"][0]
    assert document["configuration"]["event_source"] == {"type": "Psana1EventSource"}


def test_schema(run):
    code, out, _ = run("schema")
    assert code == 0
    assert json.loads(out)["required"][0] == "source_identifier"


def test_sources(run):
    code, out, _ = run("sources", "--json")
    classes = json.loads(out)
    assert code == 0
    assert classes["event_source"]["InternalEventSource"] is None
    assert "psana 1" in classes["event_source"]["Psana1EventSource"]
    assert "  Psana1EventSource  (here: " in run("sources")[1]


def test_version_and_help(run):
    assert run("--version")[1].startswith("lclstreamer ")
    code, out, _ = run("--help")
    assert code == 0
    for verb in cli.VERBS:
        assert verb in out
