"""What `lclstream psik serve --check` finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik_api.check import problems_of
from airflow_provider_lclstream.psik_api.settings import ServiceConfig


def _config(prefix: Path, backend: dict[str, Any], rule: dict[str, Any]) -> ServiceConfig:
    return ServiceConfig.model_validate(
        {
            "prefix": prefix,
            "backends": {"mfx": backend},
            "policy": {"rules": [{"who": ["uid:*"], **rule}]},
        }
    )


def test_a_sound_service_has_no_problems(tmp_path: Path) -> None:
    attributes = {"slots": "4", "--exclusive": "yes"}
    assert problems_of(_config(tmp_path, {"attributes": attributes}, {"backends": ["m*"]})) == []
    assert problems_of(_config(tmp_path, {}, {"backends": []})) == []


@pytest.mark.parametrize(
    ("backend", "rule", "words"),
    [
        ({"attributes": {"slosts": "4"}}, {}, "'slosts' (did you mean 'slots'?)"),
        ({"attributes": {"slots": "many"}}, {}, "slots: input should be a valid integer"),
        ({"type": "slrm"}, {}, "slrm"),
        ({}, {"backends": ["mxf"]}, "rule 1: no backend is called 'mxf'"),
    ],
)
def test_a_slip_is_found(
    tmp_path: Path, backend: dict[str, Any], rule: dict[str, Any], words: str
) -> None:
    (problem,) = problems_of(_config(tmp_path, backend, rule))
    assert words in problem


def test_a_folder_that_is_missing_is_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "not" / "mounted"
    assert problems_of(_config(missing, {}, {})) == [f"prefix: there is no folder {missing}"]
    assert not missing.exists()


def test_an_upstream_spelling_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    backend = {"type": "slurm", "attributes": {"psik_python": "/usr/bin/python3"}}
    (problem,) = problems_of(_config(tmp_path, backend, {}))
    assert problem == "backend mfx: this machine has no sbatch, squeue, sacct, scancel on its PATH"
