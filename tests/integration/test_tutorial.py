"""The tutorial and the README, followed literally."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

pytestmark = [pytest.mark.mpi, pytest.mark.slow]


def shell_blocks(page: Path) -> str:
    """The commands of a page, in their order."""
    return "\n".join(re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL))


def test_the_first_stream_does_what_it_says(repository, venv_bin, processes, tmp_path, free_port):
    ports = {port: str(free_port()) for port in ("15555", "15556")}

    def moved(text: str) -> str:
        return re.sub("|".join(ports), lambda found: ports[found[0]], text)

    shutil.copytree(repository / "docs", tmp_path / "docs")
    example = tmp_path / "docs/examples/streamer-simulated.yaml"
    example.write_text(moved(example.read_text()))
    commands = moved(shell_blocks(repository / "docs/tutorials/first-stream.md"))
    commands = commands.replace("$PWD/.venv/bin", str(venv_bin))
    done = processes.run(["bash", "-euc", commands], cwd=tmp_path, timeout_seconds=100)
    assert done.process.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "20 messages, 200 different events"
    ledger = json.loads((tmp_path / "stream/ledger.json").read_text())
    assert ledger["state"] == "completed"
    assert ledger["received"]["messages"] == 20
