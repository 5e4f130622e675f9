"""JobSpec and its neighbours: both upstream dialects, units, bounds, secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from airflow_provider_lclstream.psik.models import (
    BackendConfig,
    Callback,
    JobSpec,
    PsikConfig,
    ResourceSpec,
)

PAPER = {
    "name": "lclstreamer",
    "script": "mpirun -n120 lclstreamer -c cfg.yaml",
    "resources": {
        "duration": 60,
        "node_count": 1,
        "processes_per_node": 120,
        "cpu_cores_per_process": 1,
    },
    "backend": "S3DFslurm",
    "callback": "https://lclstream/callback",
    "cb_secret": "s3cr3t",
}
V2 = {"name": "x", "script": "true", "client_secret": "s3cr3t", "cb_secret": None}
V3 = {
    "name": "rem", "directory": None, "script": "...", "environment": {},
    "inherit_environment": True, "backend": "default", "attributes": {"--gpu-bind": "closest"},
    "resources": {
        "duration": 10, "node_count": None, "process_count": None, "processes_per_node": None,
        "cpu_cores_per_process": 1, "gpu_cores_per_process": 0, "exclusive_node_use": True,
    },
    "callback": "http://127.0.0.1:18301/cb", "cb_headers": {"A": "b"}, "cb_secret": "zz",
}  # fmt: skip


@pytest.mark.parametrize(("document", "secret"), [(PAPER, "s3cr3t"), (V2, "s3cr3t"), (V3, "zz")])
def test_every_dialect_is_read(document: dict[str, Any], secret: str) -> None:
    spec = JobSpec.model_validate(document)
    assert spec.cb_secret is not None
    assert spec.cb_secret.get_secret_value() == secret
    assert secret not in json.dumps(spec.to_stored())
    assert secret not in repr(spec)
    assert JobSpec.model_validate(spec.to_stored()) == spec.model_copy(update={"cb_secret": None})


def test_info_is_a_text_or_a_number() -> None:
    for info, text in ((0, "0"), ("0", "0"), ("signal 9", "signal 9")):
        callback = Callback.model_validate(
            {"jobid": "76312231.123", "jobndx": 1, "state": "completed", "info": info}
        )
        assert callback.info == text


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        (60, 60),
        ("60", 60),
        ("1h30m", 90),
        ("90s", 1.5),
        (0.5, 0.5),
        ("2 h", 120),
        ("250ms", 1 / 240),
    ],
)
def test_durations_are_minutes_or_carry_units(text: str | float, minutes: float) -> None:
    assert ResourceSpec.model_validate({"duration": text}).duration == pytest.approx(minutes)


def test_a_fraction_of_a_minute_is_kept_though_upstream_counts_whole_ones() -> None:
    stored = JobSpec(script="x", resources=ResourceSpec(duration=0.05)).to_stored()
    assert stored["resources"]["duration"] == 1
    assert JobSpec.model_validate(stored).resources.duration_seconds == pytest.approx(3)


def test_memory_is_bytes_or_carries_units() -> None:
    assert ResourceSpec.model_validate({"memory": "4 GiB"}).memory == 4 * 2**30
    assert ResourceSpec.model_validate({"memory": 2**30}).memory == 2**30


@pytest.mark.parametrize(
    "wrong",
    [
        {"duration": 0},
        {"duration": "soon"},
        {"duration": float("inf")},
        {"duration": 10**9},
        {"node_count": 0},
        {"memory": "12 parsecs"},
        {"memory": 5},
        {"node_count": 2, "processes_per_node": 3, "process_count": 7},
        {"nodes": 1},
    ],
)
def test_impossible_resources_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ResourceSpec.model_validate(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"script": ""},
        {"script": "a\0b"},
        {"script": "x" * (4 * 2**20 + 1)},
        {"bogus": 1},
        {"name": "two\nlines"},
        {"directory": "relative/path"},
        {"backend": "../other"},
        {"callback": "file:///etc/passwd"},
        {"callback": "https://host/a b"},
        {"callback": "http://[::1/cb"},
        {"callback": "http://host:99999/cb"},
        {"callback": "http://:80/cb"},
        {"environment": {"A=B": "x"}},
        {"environment": {"LD PRELOAD": "x"}},
        {"environment": {"A": "x\0y"}},
        {"cb_headers": {"X": "a\r\nEvil: 1"}},
        {"cb_headers": {"X:": "a"}},
        {"cb_headers": {"X": "é"}},
    ],
)
def test_impossible_jobs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JobSpec.model_validate({"script": "true", **wrong})


def test_processes_are_counted() -> None:
    assert ResourceSpec().processes == 1
    assert ResourceSpec(process_count=7).processes == 7
    assert ResourceSpec(node_count=2, processes_per_node=3).processes == 6


def test_configurations_are_checked() -> None:
    config = PsikConfig.model_validate({"prefix": "~/jobs", "backends": {"a": {"type": "slurm"}}})
    assert config.prefix.is_absolute()
    assert config.backends["a"] == BackendConfig(type="slurm")
    for wrong in ({"prefix": "jobs"}, {"prefix": "/x", "backends": {"../a": {}}}):
        with pytest.raises(ValidationError):
            PsikConfig.model_validate(wrong)
