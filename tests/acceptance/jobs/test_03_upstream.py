"""Issue 4, line 3: upstream's psik 3.1.1 drives our /v3 and reads our folders."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.repeats
@pytest.mark.interop
@pytest.mark.timeout(400)
def test_upstream(passes: Callable[..., str]) -> None:
    assert "skipped" not in passes("tests/interop/test_psik.py")
