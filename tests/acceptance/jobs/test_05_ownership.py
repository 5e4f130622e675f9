"""Issue 4, line 5: nobody reaches another's jobs, no path escapes, no request makes a 500."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.repeats
@pytest.mark.timeout(300)
def test_ownership_and_paths(passes: Callable[..., str]) -> None:
    passes("tests/integration/psik_api/test_ownership.py", "tests/unit/psik_api")


@pytest.mark.repeats
@pytest.mark.interop
@pytest.mark.timeout(600)
def test_fuzz(passes: Callable[..., str]) -> None:
    assert "skipped" not in passes("tests/interop/test_psik_api_fuzz.py")
