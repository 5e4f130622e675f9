"""sbatch's command line: what the spec asks, what the site adds, what a user may say."""

from __future__ import annotations

import pytest

from airflow_provider_lclstream.psik.backends.slurm import SlurmSettings
from airflow_provider_lclstream.psik.backends.slurm_options import (
    NEVER,
    USER_OPTIONS,
    sbatch_options,
    user_options,
)
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, ResourceSpec
from lclstreamer.core.errors import BadInputError


def _options(spec: JobSpec, config: BackendConfig) -> list[str]:
    return sbatch_options(spec, config, USER_OPTIONS, mark="psik:1.2", console="/p/100%/console")


def test_the_papers_example() -> None:
    spec = JobSpec(
        name="lclstreamer",
        script="mpirun -n120 lclstreamer -c cfg.yaml",
        resources=ResourceSpec(duration=60, node_count=1, processes_per_node=120),
        attributes={"--gpu-bind": "closest", "slurm.qos": "realtime"},
    )
    site = BackendConfig(
        type="slurm",
        queue_name="milano",
        project_name="lcls:tmox42619",
        reservation_id="shift",
        attributes={"--licenses": "scratch", "python": "/opt/python"},
    )
    assert _options(spec, site) == [
        "--parsable", "--no-requeue", "--job-name=lclstreamer", "--comment=psik:1.2",
        "--output=/p/100%%/console", "--open-mode=append", "--time=60", "--nodes=1",
        "--ntasks-per-node=120", "--cpus-per-task=1", "--partition=milano",
        "--account=lcls:tmox42619", "--reservation=shift", "--licenses=scratch",
        "--gpu-bind=closest", "--qos=realtime",
    ]  # fmt: skip


def test_memory_gpus_and_exclusive_nodes() -> None:
    needs = ResourceSpec(
        duration=0.5, memory=2**30 + 1, gpu_cores_per_process=2, exclusive_node_use=True
    )
    options = _options(JobSpec(script="x", resources=needs), BackendConfig())
    assert {"--time=1", "--mem=1025M", "--gpus-per-task=2", "--exclusive"} <= set(options)
    assert "--exclusive" not in _options(JobSpec(script="x"), BackendConfig())


@pytest.mark.parametrize(
    "key",
    ["--wrap", "--output", "--chdir", "--uid", "--account", "wrap", "--qos --wrap", "psik_python",
     "-o", "--gresX", "--"],
)  # fmt: skip
def test_a_user_cannot_say_everything(key: str) -> None:
    with pytest.raises(BadInputError, match="not allowed"):
        user_options({key: "x"}, USER_OPTIONS)


def test_values_stay_one_word() -> None:
    assert user_options({"--constraint": "a b; rm -rf /"}, USER_OPTIONS) == [
        "--constraint=a b; rm -rf /"
    ]
    with pytest.raises(BadInputError, match="unprintable"):
        user_options({"--constraint": "a\n#SBATCH --uid=0"}, USER_OPTIONS)


def test_a_site_narrows_and_widens_but_not_beyond_reason() -> None:
    only = SlurmSettings.model_validate({"allowed": "--qos"}).allowed_options
    assert user_options({"--qos": "x"}, only) == ["--qos=x"]
    with pytest.raises(BadInputError):
        user_options({"--constraint": "x"}, only)
    more = SlurmSettings.model_validate({"allowed": "+--oversubscribe,--wrap"}).allowed_options
    assert user_options({"--oversubscribe": ""}, more) == ["--oversubscribe"]
    with pytest.raises(BadInputError):
        user_options({"--wrap": "x"}, more)
    assert not USER_OPTIONS & NEVER
