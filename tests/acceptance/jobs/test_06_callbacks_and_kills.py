"""Issue 4, line 6: receivers that fail, and a service killed thirty times during 200 jobs."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.repeats
@pytest.mark.timeout(300)
def test_every_callback_arrives(passes: Callable[..., str]) -> None:
    passes("tests/integration/psik/test_callbacks.py", "tests/unit/psik/test_callbacks.py")


@pytest.mark.repeats
@pytest.mark.timeout(600)
def test_a_receiver_down_for_two_minutes_and_one_that_is_killed(passes: Callable[..., str]) -> None:
    passes(
        "tests/integration/psik_api/test_receiver.py",
        environment={"LCLSTREAM_RECEIVER_DOWN_SECONDS": "120"},
    )


@pytest.mark.repeats
@pytest.mark.timeout(600)
def test_thirty_kills_during_two_hundred_jobs(passes: Callable[..., str]) -> None:
    passes(
        "tests/integration/psik_api/test_killed.py",
        environment={"LCLSTREAM_KILLED_JOBS": "200", "LCLSTREAM_KILLS": "30"},
    )
