"""``lclstream pull`` and ``lclstream push`` as people use them."""

from __future__ import annotations

import json
import signal
import socket
import tarfile
import time

import pytest

from lclstreamer.consumers.pull import pull
from lclstreamer.core.errors import IncompleteStreamError
from lclstreamer.transport.connect import open_push


@pytest.fixture
def files(tmp_path):
    """Twenty files of different lengths."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02d}.bin").write_bytes(b"%02d" % number * (1 + number * 1000))
    return sorted(folder.iterdir())


@pytest.fixture
def url(free_port):
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture
def push_later(processes):
    def push(*words):
        return processes.start(["lclstream", "push", *words])

    return push


def contents(folder):
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("pusher_listens", [True, False])
@pytest.mark.parametrize("scheme", ["tcp", "zmq+tcp"])
def test_files_arrive_as_files(processes, push_later, files, tmp_path, url, pusher_listens, scheme):
    url = url.replace("tcp", scheme, 1)
    listening, dialing = (["--listen"], []) if pusher_listens else ([], ["--listen"])
    pushed = push_later(*files, url, "--json", *listening)
    report = tmp_path / "report.json"
    pulled = processes.run(
        ["lclstream", "pull", url, "-o", tmp_path / "out", "--json", "--report", report, *dialing]
    )
    summary = json.loads(pulled.stdout)
    delivery = (pushed.wait(), json.loads(pushed.stdout))[1]
    assert contents(tmp_path / "out") == [path.read_bytes() for path in files]
    assert summary["messages"] == delivery["messages"] == 20
    assert json.loads(report.read_text()) == summary
    assert summary["bytes"] == sum(path.stat().st_size for path in files)
    assert pushed.process.returncode == 0
    assert delivery["confirmed_messages"] == (20 if scheme == "tcp" else None)
    if scheme == "tcp":
        assert (pulled.process.returncode, summary["end"]) == (0, "end_of_stream")
    else:  # ZeroMQ has no word for the end
        assert (pulled.process.returncode, summary["end"]) == (74, "disconnected")


def test_a_tar_on_standard_output(processes, push_later, files, url):
    push_later(*files, url, "--listen")
    pulled = processes.run(["lclstream", "pull", url, "--tar", "--name-format", "%d.bin"])
    assert pulled.process.returncode == 0, pulled.stderr
    with tarfile.open(pulled.stdout_file) as archive:
        held = [archive.extractfile(member).read() for member in archive]
    assert held == [path.read_bytes() for path in files]
    assert "end_of_stream: 20 messages" in pulled.stderr


def test_a_number_of_messages_and_the_rest_for_another(processes, push_later, files, tmp_path, url):
    pushed = push_later(*files, url, "--listen")
    first = processes.run(["lclstream", "pull", url, "-o", tmp_path / "a", "-n", "5", "--json"])
    assert (first.process.returncode, json.loads(first.stdout)["end"]) == (0, "count_reached")
    rest = processes.run(["lclstream", "pull", url, "-o", tmp_path / "b"])
    assert rest.process.returncode == 0
    assert pushed.wait() == 0
    both = contents(tmp_path / "a") + contents(tmp_path / "b")
    assert both == [path.read_bytes() for path in files]


def test_a_stream_cut_short_is_a_failure(processes, tmp_path, url):
    push = open_push(url, listen=True, name="the sender")
    for number in range(10):
        push.send(b"%d" % number)
    pulled = processes.start(["lclstream", "pull", url, "-o", tmp_path / "out"])
    deadline = time.monotonic() + 20
    while not push._consumers and time.monotonic() < deadline:
        time.sleep(0.02)
    push._consumers[0]._wire._socket.shutdown(socket.SHUT_RDWR)
    assert pulled.wait() == 74
    assert "was cut short after" in pulled.stderr
    assert "the sender: disconnected without ending its stream" in pulled.stderr
    assert "mend:" in pulled.stderr
    push.close(0.1)


def test_a_full_folder_gives_the_message_back(processes, push_later, files, tmp_path, url):
    pushed = push_later(*files, url, "--listen")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "00003.bin").touch()
    failed = processes.run(["lclstream", "pull", url, "-o", tmp_path / "a"])
    assert failed.process.returncode == 73
    assert "is there already" in failed.stderr
    rest = processes.run(["lclstream", "pull", url, "-o", tmp_path / "b"])
    assert (rest.process.returncode, pushed.wait()) == (0, 0)
    written = [(tmp_path / "a" / f"0000{number}.bin").read_bytes() for number in range(3)]
    assert written + contents(tmp_path / "b") == [path.read_bytes() for path in files]


def test_a_terminated_pull_leaves_whole_files(processes, tmp_path, url, wait_for):
    push = open_push(url, listen=True)
    pulled = processes.start(["lclstream", "pull", url, "-o", tmp_path / "out"])
    for _ in range(5):
        push.send(bytes(100_000))
    wait_for(lambda: len(list((tmp_path / "out").glob("*.bin"))) == 5, what="five files")
    pulled.process.send_signal(signal.SIGTERM)
    assert pulled.wait() == 130
    assert {path.stat().st_size for path in (tmp_path / "out").iterdir()} == {100_000}
    push.close(0.1)


def test_nobody_takes_what_is_pushed(processes, files, url):
    told = processes.run(["lclstream", "push", *files, url, "--timeout", "0.2"])
    assert told.process.returncode == 69
    assert f"cannot connect to {url}" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["pull", "tcp://127.0.0.1:1"], 64, "where the messages should go"),
        (["pull", "tcp://127.0.0.1:1", "--tar", "--json"], 64, "standard output"),
        (["pull", "127.0.0.1:1", "--discard"], 65, "not the URL of a socket"),
        (["pull", "tcp://127.0.0.1:1", "-o", "/proc/none"], 73, "cannot write"),
        (["push", "tcp://127.0.0.1:1"], 64, "files and a URL are needed"),
        (["push", "/none", "tcp://127.0.0.1:1"], 65, "cannot read /none"),
    ],
)
def test_wrong_words_are_one_clear_message(processes, words, code, said):
    told = processes.run(["lclstream", *words])
    assert told.process.returncode == code, told.stderr
    assert said in told.stdout + told.stderr
    assert "Traceback" not in told.stderr


def test_programs_iterate_over_a_stream(push_later, files, url):
    pushed = push_later(*files, url, "--listen")
    assert [bytes(message) for message in pull(url)] == [path.read_bytes() for path in files]
    assert pushed.wait() == 0


def test_programs_get_an_error_when_a_stream_is_cut_short(url):
    push = open_push(url.replace("tcp", "zmq+tcp", 1), listen=True)
    stream = pull(push.endpoint)
    push.send(b"only")
    assert bytes(next(stream)) == b"only"
    push.close(5)
    with pytest.raises(IncompleteStreamError, match="cut short after 1 messages"):
        next(stream)
