"""Provisioning and bootstrap on machines that lack something."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NEEDED = ("bash", "cat", "dirname", "env", "id", "mktemp", "python3", "sort", "tr", "sha256sum")


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    """A PATH with the barest of programs: no apt-get, no dpkg, no compiler, no uv, no java."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        program = shutil.which(name)
        assert program is not None
        (folder / name).symlink_to(Path(program).resolve())
    return str(folder)


def provision(repository: Path, *parts: str, path: str) -> subprocess.CompletedProcess[str]:
    """Run tools/provision with this PATH."""
    return subprocess.run(
        [repository / "tools/provision", *parts],
        env={"PATH": path, "HOME": os.environ["HOME"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_who_may_not_install_is_told_what_is_left_out_and_goes_on(repository, bare_path):
    done = provision(repository, "psana", "slurm", path=bare_path)
    assert done.returncode == 0, done.stderr
    assert "left out: gcc" in done.stderr
    assert "libkrb5-dev" in done.stderr
    assert "without 'slurm': tests that need SLURM are skipped" in done.stderr
    assert "mend: as root, 'make provision PARTS=\"psana slurm\"'" in done.stderr


def test_an_unknown_part_is_refused_with_the_list(repository, bare_path):
    done = provision(repository, "slrum", path=bare_path)
    assert done.returncode == 64
    assert "there is no part 'slrum'" in done.stderr
    assert "chromium kafka postgresql psana slurm" in done.stderr


def test_no_usable_python_is_said_with_a_mend(repository, tmp_path, bare_path):
    (Path(bare_path) / "python3").unlink()
    done = subprocess.run(
        [repository / "tools/bootstrap"],
        env={"PATH": bare_path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 69
    assert "mend: as root, 'apt-get install python3-venv'" in done.stderr


def test_make_lists_its_targets(repository):
    done = subprocess.run(
        ["make", "--no-print-directory"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    listed = [line.split()[1] for line in done.stdout.splitlines()]
    assert {"demo", "test", "accept", "provision", "lint", "bench", "docs"} <= set(listed)
