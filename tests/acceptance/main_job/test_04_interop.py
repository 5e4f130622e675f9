"""Programs nobody here wrote, in their own virtual environment, on both sides of the buffer."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop

INTEROP = Path(__file__).resolve().parents[2] / "interop" / "sockets"
KINDS = ("pynng", "zmq", "ours")
PROTOCOL = {"pynng": "nng", "zmq": "zmq", "ours": "nng"}
COUNT, SIZE = 250, 40_000


def _load(name):
    spec = importlib.util.spec_from_file_location(f"interop_{name}", INTEROP / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


foreign_programs = _load("foreign")
foreign_python = _load("conftest").foreign_python
foreign = _load("conftest").foreign


@pytest.fixture
def ours(processes, tmp_path, venv_bin):
    """Our own programs in the same roles."""
    folders = itertools.count()

    def start(role, url, name=""):
        if role == "pull":
            folder = tmp_path / f"out{next(folders)}"
            return folder, processes.start([venv_bin / "lclstream", "pull", url, "-o", folder])
        folder = tmp_path / name
        folder.mkdir()
        for number in range(COUNT):
            data = foreign_programs.message(name, number, SIZE)
            (folder / f"{number:05d}.bin").write_bytes(data)
        files = sorted(folder.iterdir())
        return folder, processes.start([venv_bin / "lclstream", "push", *files, url])

    return start


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("inlet", "outlet"), [pair for pair in itertools.product(KINDS, KINDS) if pair != ("ours",) * 2]
)
def test_every_message_of_foreign_programs_arrives_unchanged(
    processes, foreign, ours, tmp_path, venv_bin, wait_for, figure, inlet, outlet
):
    folder, close_file = tmp_path / "buffer", tmp_path / "close"
    buffer = processes.start(
        [venv_bin / "nng-stream", "run", "--directory", folder, "--expected-producers", "2"]
    )
    wait_for((folder / "endpoints.json").exists, what="the buffer")
    places = json.loads((folder / "endpoints.json").read_text())
    into, out_of = places["inlets"][PROTOCOL[inlet]], places["outlets"][PROTOCOL[outlet]]
    pullers, folders = [], []
    for _ in range(2):
        if outlet == "ours":
            target, puller = ours("pull", out_of)
            folders.append(target)
        else:
            puller = foreign(f"pull_{outlet}", out_of, "dial")
        pullers.append(puller)
    pushers = [
        ours("push", into, name)[1]
        if inlet == "ours"
        else foreign(f"push_{inlet}", into, "dial", name, COUNT, SIZE, close_file)
        for name in ("one", "two")
    ]
    ledger_file = folder / "ledger.json"

    def all_came():
        return ledger_file.exists() or _received(processes, venv_bin, folder) == 2 * COUNT

    if inlet != "ours":
        wait_for(all_came, what="every message in the buffer", timeout_seconds=60)
        close_file.touch()
    for running in (*pushers, *pullers, buffer):
        assert running.wait(60) == 0, running.stderr
    expected = sorted(
        hashlib.sha256(foreign_programs.message(name, number, SIZE)).hexdigest()
        for name in ("one", "two")
        for number in range(COUNT)
    )
    arrived = _digests_of_files(folders) if outlet == "ours" else _digests_told(pullers)
    assert len(arrived) == 2 * COUNT
    assert sorted(arrived) == expected
    ledger = json.loads(ledger_file.read_text())
    assert ledger["state"] == "completed", ledger["problems"]
    assert ledger["received"] == ledger["sent"] == {"messages": 500, "bytes": 500 * SIZE}
    figure(f"interop_{inlet}_to_{outlet}_messages_equal", len(arrived))


def _received(processes, venv_bin, folder):
    told = processes.run([venv_bin / "nng-stream", "status", folder, "--json"])
    return json.loads(told.stdout)["received"]["messages"] if not told.process.returncode else -1


def _digests_of_files(folders):
    files = [file for folder in folders for file in folder.iterdir()]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def _digests_told(pullers):
    lines = [line for puller in pullers for line in puller.stdout.splitlines()]
    return [line.split()[1] for line in lines if line != "begun"]
