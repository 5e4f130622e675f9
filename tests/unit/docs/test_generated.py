"""The reference pages written from the code are the ones that are committed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = (
    "configuration", "buffer", "transfer", "rules", "jobs", "job-service", "psik-api", "site",
    "airflow", "metrics", "errors", "states",
)  # fmt: skip


@pytest.fixture(scope="module")
def reference() -> Iterator[ModuleType]:
    """The module that writes the pages."""
    sys.path.insert(0, str(DOCS / "_ext"))
    yield importlib.import_module("generated_reference")
    sys.path.remove(str(DOCS / "_ext"))


def test_every_page_is_compared_here_or_among_the_slow_ones(reference):
    assert set(reference.PAGES) == {*PAGES, "commands"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_code_says(reference, name):
    written = (DOCS / "reference" / "generated" / f"{name}.md").read_text(encoding="utf-8")
    assert written == reference.PAGES[name](), "run `make docs` and commit what it writes"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_command_lines_are_what_the_programs_say(reference):
    written = (DOCS / "reference" / "generated" / "commands.md").read_text(encoding="utf-8")
    assert written == reference.PAGES["commands"](), "run `make docs` and commit what it writes"
