"""What is committed: links that lead somewhere, no private paths, no unfinished pieces."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError")
VAGUE = {"utils.py", "helpers.py", "common.py", "manager.py", "misc.py"}


@pytest.fixture(scope="module")
def committed(repository: Path) -> list[Path]:
    """Every file git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.splitlines()
    files = [repository / name for name in sorted(set(listed))]
    return [path for path in files if path.is_file() and path.name != "uv.lock"]


def text_of(path: Path) -> str:
    """A file as text, whatever its bytes."""
    return path.read_text(encoding="utf-8", errors="replace")


def test_links_in_markdown_lead_somewhere(committed):
    broken = [
        f"{path.name}: {link}"
        for path in committed
        if path.suffix == ".md"
        for link in LINK.findall(re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL))
        if not re.match(r"[a-z]+:|#", link) and not (path.parent / link.split("#")[0]).exists()
    ]
    assert broken == []


def test_nothing_names_the_place_it_was_written_at(committed, repository):
    here = re.compile(rf"{re.escape(str(repository.resolve()))}/|{re.escape(str(Path.home()))}/")
    guilty = [
        f"{path.relative_to(repository)}:{number}: {line.strip()[:80]}"
        for path in committed
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if here.search(line)
    ]
    assert guilty == []


def test_nothing_is_left_for_later_in_the_source(sources):
    guilty = [
        f"{source.name}:{number}: {line.strip()}"
        for source in sources
        for number, line in enumerate(source.text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert guilty == []


def test_no_module_has_a_name_that_says_nothing(sources):
    assert [source.name for source in sources if Path(source.name).name in VAGUE] == []


def test_tests_are_not_packages(repository):
    assert list((repository / "tests").rglob("__init__.py")) == []
