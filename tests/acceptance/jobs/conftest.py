"""Runs other tests of this project in a process of their own and reads what came of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def passes(repository: Path, figure: Callable[[str, Any], None]) -> Callable[..., str]:
    """``passes("tests/…", environment={…})``: all of them pass; their figures are printed."""

    def run(*words: str, timeout_seconds: float = 560, environment: Any = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *words],
            cwd=repository, capture_output=True, text=True, check=False, timeout=timeout_seconds,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        found = re.search(r"(\d+) passed", done.stdout)
        if done.returncode == 0 and found is None:
            pytest.skip(done.stdout[-500:])
        assert done.returncode == 0, done.stdout[-4000:]
        for name, value in re.findall(r"FIGURE (\S+): (\S+)", done.stdout):
            figure(name, value)
        figure("tests_passed", int(found[1]) if found else 0)
        return done.stdout

    return run
