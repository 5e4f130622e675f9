"""Issue 4, line 2: the same test over every backend that is built."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_lclstream.psik.backends import KINDS


@pytest.mark.repeats
@pytest.mark.slurm
@pytest.mark.timeout(600)
def test_conformance(passes: Callable[..., str]) -> None:
    said = passes("tests/integration/psik/test_conformance.py", "-vv")
    for kind in KINDS:
        assert f"-{kind}" in said or f"[{kind}" in said, f"{kind} was not run"
