"""Issue 4, line 2: the same test over every backend that is built."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from airflow_provider_lclstream.psik.backends import KINDS


@pytest.mark.repeats
@pytest.mark.slurm
@pytest.mark.timeout(600)
def test_conformance(passes: Callable[..., str]) -> None:
    said = passes("tests/integration/psik/test_conformance.py", "-vv")
    dialects = ["psik-v3", "psik-v2"]
    if os.environ.get("LCLSTREAM_UPSTREAM_PSIK_API"):
        dialects.append("psik-upstream")
        assert f"[{dialects[-1]}] SKIPPED" not in said
    for kind in [*KINDS, *dialects]:
        assert f"-{kind}" in said or f"[{kind}" in said, f"{kind} was not run"
