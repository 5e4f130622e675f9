"""In an Airflow that was there before, `pip install` of the wheel is enough to be found."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(600)]

AIRFLOW = "apache-airflow==3.3.2"
NAME = "airflow-provider-lclstream"
PACKAGE = "airflow_provider_lclstream"


def run(words, **options):
    """Run a program to its end; gives its standard output."""
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True, text=True, check=False, timeout=300, **options,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def existing_airflow(repository, tmp_path_factory):
    """A virtual environment with Airflow and nothing else; then the wheel, and only the wheel."""
    folder = tmp_path_factory.mktemp("existing")
    uv, python = repository / "tools" / "uv", folder / "venv" / "bin" / "python"
    export = ["export", "--frozen", "--no-hashes", "--no-emit-project", "--extra", "airflow"]
    run([uv, *export, "--quiet", "-o", folder / "constraints.txt"], cwd=repository)
    run([uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"], cwd=folder)
    install = [uv, "pip", "install", "--quiet", "--python", python]
    run([*install, "--constraint", folder / "constraints.txt", AIRFLOW], cwd=folder)
    before = run([uv, "pip", "freeze", "--python", python], cwd=folder)
    assert "kafka" not in before
    run([uv, "build", "--quiet", "--wheel", "--out-dir", folder, "."], cwd=repository)
    run([*install, *folder.glob("*.whl")], cwd=folder)
    run([uv, "pip", "check", "--python", python], cwd=folder)
    return folder


@pytest.fixture(scope="module")
def airflow(existing_airflow):
    """``airflow("providers", "list")``: a command of that Airflow; gives the rows of its answer."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW_", "LCLSTREAM_", "PYTHON", "VIRTUAL_ENV"))
    }
    environment |= {"AIRFLOW_HOME": str(existing_airflow / "home")}
    program = existing_airflow / "venv" / "bin" / "airflow"

    def ask(*words):
        text = run([program, *words, "-o", "json"], cwd=existing_airflow, env=environment)
        return json.loads(text[text.index("[") :])

    return ask


def test_airflow_finds_the_provider(airflow, repository, figure):
    (found,) = [row for row in airflow("providers", "list") if row["package_name"] == NAME]
    assert "beamline" in found["description"]
    (details,) = airflow("providers", "get", NAME, "--full")
    figure("provider_version", found["version"])
    assert NAME in json.dumps(details)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("hooks", [f"{PACKAGE}.hooks.psik.PsikHook"]),
        ("links", [f"{PACKAGE}.links.PsikJobLink"]),
        ("triggers", [f"{PACKAGE}.triggers.psik", f"{PACKAGE}.triggers.run_event"]),
    ],
)
def test_airflow_lists_what_it_brings(airflow, what, expected, figure):
    text = json.dumps(airflow("providers", what))
    assert [name for name in expected if name not in text] == []
    figure(f"provider_{what}", len(expected))


def test_airflow_knows_operators_and_connection_types(airflow):
    text = json.dumps(airflow("providers", "get", NAME, "--full"))
    for expected in ("operators.psik", "operators.transfer", "triggers.run_event", "hooks.psik"):
        assert f"{PACKAGE}.{expected}" in text
    hooks = [row for row in airflow("providers", "hooks") if row["connection_type"] == "psik"]
    assert [row["hook_name"] for row in hooks] == ["Psi-K jobs"]


def test_airflow_loads_the_plugin(airflow):
    assert "lclstream" in {row["name"] for row in airflow("plugins")}
