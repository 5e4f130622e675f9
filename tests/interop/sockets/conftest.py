"""pynng and pyzmq in a virtual environment of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FOREIGN = Path(__file__).with_name("foreign.py")
PACKAGES = ("pynng", "pyzmq")


@pytest.fixture(scope="session")
def foreign_python(repository: Path, require) -> Path:
    """An interpreter that knows pynng and pyzmq, and nothing of this project."""
    folder = repository / ".cache" / "interop-sockets"
    python = folder / "bin" / "python"
    if not python.exists() or _call(python, "-c", "import pynng, zmq").returncode:
        uv = repository / "tools" / "uv"
        for words in (
            ("venv", "--quiet", "--allow-existing", folder),
            ("pip", "install", "--quiet", "--python", python, *PACKAGES),
        ):
            done = _call(uv, *words)
            require(
                done.returncode == 0,
                f"pynng and pyzmq cannot be installed: {done.stderr[-300:]}; connect to PyPI",
            )
    return python


def _call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def foreign(foreign_python, processes):
    """``foreign("pull_zmq", url, "dial", …)`` starts one of the programs in foreign.py."""

    def start(role, url, side, *more):
        address = url.replace("zmq+tcp", "tcp")
        words = [foreign_python, FOREIGN, role, address, side, *map(str, more)]
        return processes.start(words, environment={"PYTHONPATH": "", "VIRTUAL_ENV": ""})

    return start
