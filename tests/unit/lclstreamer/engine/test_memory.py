"""Freed memory stays with the process, unless its environment says otherwise."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from lclstreamer.engine.memory import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "keep" else False


def page_faults(turns):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(turns):
        pieces = [b"x" * 3_000_000 for _ in range(8)]
        del pieces
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


page_faults(20)
print(int(kept), page_faults(20))
"""


def run(word, **environment):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, word],
        env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    kept, page_faults = map(int, done.stdout.split())
    return bool(kept), page_faults


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's rule")
def test_the_next_event_finds_its_memory_warm():
    (kept, page_faults), (_, without) = run("keep"), run("not")
    assert kept
    assert page_faults < without / 20
    assert without > 20 * 8 * 3_000_000 / 4096 / 2  # else there would be nothing to gain


def test_who_chooses_by_environment_is_left_alone():
    assert not run("keep", MALLOC_TRIM_THRESHOLD_="131072")[0]
