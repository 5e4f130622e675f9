"""Issue 3, line 5: two fresh virtual environments, at most 4 commands each, within 10 s."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

SIDES = ("facility", "user")
WHO = "airflow_provider_lclstream.certified.who:app"


@pytest.fixture(scope="module")
def environments(repository, require, tmp_path_factory):
    """Two virtual environments with this distribution really installed, and nothing else done."""
    folder = tmp_path_factory.mktemp("fresh")
    uv = str(repository / "tools" / "uv")
    for side in SIDES:
        # pip compiles what it installs; uv does so only when told.
        for words in (
            [uv, "venv", "--quiet", str(folder / side)],
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python",
             str(folder / side / "bin" / "python"), f"{repository}[api]"],
        ):  # fmt: skip
            done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
            require(done.returncode == 0, f"cannot install: {done.stderr[-400:]}; connect to PyPI")
    return {side: folder / side for side in SIDES}


@pytest.mark.timeout(400)
def test_from_nothing_to_a_first_authenticated_call(
    environments, processes, wait_for, tmp_path, free_port, figure
):
    url = f"https://127.0.0.1:{free_port()}"
    counts = dict.fromkeys(SIDES, 0)

    def options(side):
        venv = environments[side]
        return {
            "cwd": tmp_path,
            "environment": {
                "VIRTUAL_ENV": str(venv),
                "PATH": f"{venv}/bin:{os.environ['PATH']}",
                "LCLSTREAM_IDENTITY": "",
                "CERTIFIED_CONFIG": "",
            },
        }

    def command(side, text):
        counts[side] += 1
        done = processes.run(["bash", "-c", text], **options(side))
        assert done.process.returncode == 0, (text, done.stderr)
        return done.stdout

    began = time.monotonic()
    command("facility", "lclstream certified init --org Lab --unit psik --host 127.0.0.1")
    counts["facility"] += 1
    server = processes.start(
        ["bash", "-c", f"exec lclstream certified serve {WHO} {url}"], **options("facility")
    )
    command("user", "lclstream certified init 'Alice Example' --uid alice")
    command("user", "lclstream certified request -o alice.csr")
    command(
        "facility",
        f"lclstream certified introduce alice.csr --uid alice --knows psik={url} > alice.json",
    )
    command("user", "lclstream certified add-introduction alice.json")
    wait_for(lambda: "startup complete" in server.stderr)
    who = json.loads(command("user", "lclstream message psik/who"))
    taken = time.monotonic() - began
    assert who["principal"] == "uid:alice"
    for side, venv in environments.items():
        assert (venv / "etc" / "certified" / "id.key").stat().st_mode & 0o777 == 0o600
        assert counts[side] <= 4
    assert taken < 10
    figure("seconds_to_first_authenticated_call", taken)
    figure("commands_facility", counts["facility"])
    figure("commands_user", counts["user"])
