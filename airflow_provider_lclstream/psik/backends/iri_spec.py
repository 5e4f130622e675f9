"""From a job to the IRI facility API's JobSpec, which is PSI/J's. Pure."""

from __future__ import annotations

import math
import shlex
import sys
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_lclstream.psik.backends.base import Attempt
from airflow_provider_lclstream.psik.backends.scheduled import mark_of, runner_command
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from lclstreamer.core.errors import BadInputError

_CUSTOM = "custom."
# Where a service starts the command once per process, the first one runs the job.
_ONCE = '[ "${{SLURM_PROCID:-${{PMI_RANK:-0}}}}" = 0 ] || exit 0; exec {}'


class IriSettings(BaseModel):
    """The attributes of an iri backend; ``custom.NAME`` goes to the scheduler as NAME."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    url: str
    """The service, without ``/api/v1``: ``https://iri.slac.stanford.edu``."""
    resource: str = Field(min_length=1)
    """The compute resource's id there."""
    token_file: str
    """A file of mode 0600 with the bearer token; read each time, so it may be replaced."""
    python: str = sys.executable
    """The Python on the nodes that has this package."""
    mpirun: str = "srun --overlap"
    """What a script finds in ``$mpirun``."""
    launcher: str | None = None
    """The API's ``launcher``, where a site needs one."""
    allowed: str = ""
    """The custom attributes a user may give, by commas."""
    grace_seconds: float = Field(default=10, ge=0, le=3600)
    """How long a script has between SIGTERM and SIGKILL, if the scheduler leaves it as long."""
    patience_seconds: float = Field(default=120, ge=0, le=86400)
    """How long a job may be unknown to the service after its last change."""


def name_of(attempt: Attempt) -> str:
    """The job's name there, by which it is found again."""
    return mark_of(attempt).replace(":", "-")  # PBS takes no colon


def job_spec(attempt: Attempt, config: BackendConfig, settings: IriSettings) -> dict[str, Any]:
    """The document that launches an attempt's runner, once."""
    spec, console = attempt.spec, str(attempt.job.console)
    command = shlex.join(runner_command(settings.python, attempt))
    resources = {
        **spec.resources.model_dump(exclude={"duration"}),
        "gpu_cores_per_process": spec.resources.gpu_cores_per_process or None,
    }
    attributes = {
        # Whole minutes: S3DF's service rounds down to them.
        "duration": math.ceil(spec.resources.duration) * 60,
        "queue_name": config.queue_name,
        "account": config.project_name,
        "reservation_id": config.reservation_id,
        "custom_attributes": custom_attributes(spec, config, settings),
    }
    return _present(
        {
            "name": name_of(attempt),
            "executable": "/bin/bash",
            "arguments": ["-c", _ONCE.format(command)],
            "directory": str(attempt.job.path),
            "stdout_path": console,
            "stderr_path": console,
            "launcher": settings.launcher,
            "resources": _present(resources),
            "attributes": _present(attributes),
        }
    )


def custom_attributes(
    spec: JobSpec, config: BackendConfig, settings: IriSettings
) -> dict[str, str]:
    """What the user's attributes and the site's ask of the scheduler.

    Raises:
        BadInputError: the user names one that is not allowed here.
    """
    allowed = {word.strip() for word in settings.allowed.split(",")} - {""}
    for name in spec.attributes:
        if name not in allowed:
            raise BadInputError(
                f"the attribute {name!r} is not allowed on this backend",
                mend=f"use {', '.join(sorted(allowed)) or 'none'}; the site may allow others",
            )
    sites = {
        key.removeprefix(_CUSTOM): value
        for key, value in config.attributes.items()
        if key.startswith(_CUSTOM)
    }
    return {**spec.attributes, **sites}


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
