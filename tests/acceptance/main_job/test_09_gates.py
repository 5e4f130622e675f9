"""The gates themselves, and what the built wheel holds."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        ["tools/uv", "build", "--quiet", "--wheel", "--out-dir", folder, "."],
        cwd=repository,
        check=True,
        timeout=110,
    )
    return next(folder.glob("*.whl"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_gate_is_clean(repository):
    done = subprocess.run(
        ["tools/lint"], cwd=repository, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert done.stdout.rstrip().endswith("lint: all clean")


def test_what_the_rules_forbid_is_found(repository, venv_bin, tmp_path):
    (tmp_path / "guilty.py").write_text("import zmq\n\n\ndef f(x):\n    print(x)\n")
    settings = ["--config", repository / "pyproject.toml", "--output-format", "json"]
    done = subprocess.run(
        [venv_bin / "ruff", "check", *settings, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    found = {fault["code"] for fault in json.loads(done.stdout)}
    assert found >= {"TID253", "T201", "ANN001", "D103"}


def test_the_wheel_holds_the_three_packages_their_types_and_the_dags(wheel, repository):
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("lclstreamer", "nng_stream", "airflow_provider_lclstream"):
        assert f"{package}/__init__.py" in names
        assert f"{package}/py.typed" in names
    for dag in (repository / "dags").glob("*.py"):
        assert f"airflow_provider_lclstream/dags/{dag.name}" in names
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"lclstreamer", "nng_stream", "airflow_provider_lclstream"}
    assert not [name for name in names if "/tests/" in name or name.endswith(".pyc")]


def test_the_wheel_names_its_programs_and_its_doors_into_airflow(wheel):
    archive = zipfile.ZipFile(wheel)
    entry_points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
    text = archive.read(entry_points).decode()
    for line in (
        "lclstream = airflow_provider_lclstream.cli:main",
        "lclstreamer = lclstreamer.cli:main",
        "nng-stream = nng_stream.cli:main",
        "[apache_airflow_provider]",
        "[airflow.plugins]",
    ):
        assert line in text
