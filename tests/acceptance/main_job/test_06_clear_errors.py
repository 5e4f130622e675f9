"""What goes wrong is said once, clearly, with what to do about it, and never with a traceback."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

EXAMPLE = "docs/examples/streamer-simulated.yaml"

FOUR_MISTAKES = """\
source_identifier: simulated
skip_incomplete_events: true
event_source:
  type: InternalEventSourc
  number_of_events_to_generate: 10
data_sources:
  detector:
    type: GenericRandomNumpyArray
    aray_shape: [16, 16]
    array_shape: [16, 16]
    array_dtype: float23
processing_pipeline: {type: BatchProcessingPipeline, batch_size: 0}
data_serializer: {type: Hdf5Serializer}
data_handlers: [{type: BinaryFileWritingDataHandler}]
"""


def assert_clear(ended, exit_code: int) -> str:
    """One message with one mend, no traceback, this exit code; the message."""
    said = ended.stderr
    assert "Traceback" not in said + ended.stdout, said
    assert said.count("mend:") == 1, said
    assert ended.process.returncode == exit_code, said
    return said


def streamer_configuration(repository: Path, tmp_path: Path, **changes: object) -> Path:
    """The tutorial's configuration with some sections replaced."""
    import yaml

    document = yaml.safe_load((repository / EXAMPLE).read_text())
    path = tmp_path / "stream.yaml"
    path.write_text(json.dumps({**document, **changes}))
    return path


FILES_INTO = {"type": "BinaryFileWritingDataHandler"}


@pytest.mark.parametrize("words", [["check"], ["run", "-c"], ["-c"]], ids=["check", "run", "short"])
def test_four_mistakes_give_four_located_messages(words, processes, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(FOUR_MISTAKES)
    said = assert_clear(processes.run(["lclstreamer", *words, path]), 78)
    located = re.findall(rf"^{re.escape(str(path))}:(\d+):(\d+): (.*)$", said, re.MULTILINE)
    assert [line for line, _, _ in located] == ["4", "9", "11", "12"]
    for hint, (_, _, text) in zip(
        ("InternalEventSource", "array_shape", "float32"), located, strict=False
    ):
        assert f"did you mean '{hint}'?" in text
    assert "batch_size" in located[3][2]


def test_the_same_mistakes_as_json(processes, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(FOUR_MISTAKES)
    ended = processes.run(["lclstreamer", "check", path, "--json"])
    assert ended.process.returncode == 78
    problem = json.loads(ended.stdout)["error"]
    assert len(problem["errors"]) == 4
    assert problem["mend"]


def test_a_port_in_use(processes, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        ended = processes.run(["nng-stream", "run", "--directory", tmp_path / "b", "--inlet", url])
    said = assert_clear(ended, 69)
    assert url in said
    assert "in use" in said


HIDE = """\
import importlib.machinery

find = importlib.machinery.PathFinder.find_spec


def find_spec(name, path=None, target=None):
    return None if name == {name!r} else find(name, path, target)


importlib.machinery.PathFinder.find_spec = find_spec
"""


@pytest.fixture
def without_module(tmp_path):
    """A function giving an environment in which a module is not installed."""

    def hide(name: str) -> dict[str, str]:
        folder = tmp_path / "hidden"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(HIDE.format(name=name))
        return {"PYTHONPATH": str(folder)}

    return hide


def test_a_missing_module_of_a_source(processes, repository, tmp_path, without_module):
    path = streamer_configuration(
        repository,
        tmp_path,
        source_identifier=f"exp=tmox42619,run=1,dir={tmp_path}",
        event_source={"type": "Psana2EventSource"},
        data_sources={"timestamp": {"type": "Psana2Timestamp"}},
        data_serializer={"type": "Hdf5Serializer"},
        data_handlers=[FILES_INTO],
    )
    ended = processes.run(
        ["lclstreamer", "run", "-c", path], cwd=tmp_path, environment=without_module("psana")
    )
    said = assert_clear(ended, 69)
    assert "psana" in said
    assert "psana2" in said


def test_a_missing_module_of_a_serializer(processes, repository, tmp_path, without_module):
    path = streamer_configuration(repository, tmp_path, data_handlers=[FILES_INTO])
    ended = processes.run(
        ["lclstreamer", "run", "-c", path], cwd=tmp_path, environment=without_module("h5py")
    )
    said = assert_clear(ended, 69)
    assert "h5py" in said
    assert "'streamer'" in said


def test_a_missing_module_of_the_demo(processes, tmp_path, without_module):
    ended = processes.run(
        ["lclstream", "demo"], cwd=tmp_path, environment=without_module("confluent_kafka")
    )
    said = assert_clear(ended, 69)
    assert "confluent" in said
    assert "pip install" in said


def test_an_unwritable_folder_of_the_streamer(processes, repository, tmp_path):
    handler = {**FILES_INTO, "write_directory": "/proc/nowhere"}
    path = streamer_configuration(repository, tmp_path, data_handlers=[handler])
    said = assert_clear(processes.run(["lclstreamer", "run", "-c", path]), 73)
    assert "/proc/nowhere" in said


@pytest.mark.parametrize(
    "words",
    [
        ["nng-stream", "run", "--directory", "/proc/nowhere"],
        ["lclstream", "pull", "tcp://127.0.0.1:1", "-o", "/proc/nowhere"],
    ],
    ids=["buffer", "pull"],
)
def test_an_unwritable_folder(words, processes):
    said = assert_clear(processes.run(words), 73)
    assert "/proc/nowhere" in said


def test_nobody_listens_where_the_streamer_dials(processes, repository, tmp_path, free_port):
    url = f"nng+tcp://127.0.0.1:{free_port()}"
    handler = {
        "type": "BinaryDataStreamingDataHandler",
        "urls": [url],
        "connect_timeout_seconds": 0.5,
    }
    path = streamer_configuration(repository, tmp_path, data_handlers=[handler])
    said = assert_clear(processes.run(["lclstreamer", "run", "-c", path]), 69)
    assert url.removeprefix("nng+") in said


def test_no_broker(processes, tmp_path, free_port, repository):
    broker, airflow = (f"127.0.0.1:{free_port()}" for _ in range(2))
    credentials = tmp_path / "credentials.json"
    credentials.write_text('{"username": "u", "password": "p"}')
    credentials.chmod(0o600)
    settings = {
        "--rules": repository / "docs/examples/rules-mfx.yaml",
        "--airflow": f"http://{airflow}",
        "--credentials": credentials,
        "--bootstrap": broker,
        "--topic": "runs",
    }
    words = [word for setting in settings.items() for word in setting]
    ended = processes.run(["lclstream", "arp", "serve", *words], timeout_seconds=60)
    said = assert_clear(ended, 69)
    assert broker in said


@pytest.mark.parametrize("words", [["pul"], ["psik", "lss"], ["demo", "--evnts", "3"], ["--jsn"]])
def test_a_mistyped_command_is_a_usage_error(words, processes):
    ended = processes.run(["lclstream", *words])
    assert ended.process.returncode in {2, 64}
    assert "Traceback" not in ended.stderr
    assert ended.stderr.strip()
