"""What a job is: the models that specifications, configuration files and replies are made of.

Both of upstream's dialects are read: ``info`` as a number (v2) or a text (v3), ``cb_headers`` (v3),
``client_secret`` (v2). Durations are minutes, or a text such as ``1h30m``; memory is bytes, or a
text such as ``4 GiB``.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from airflow_provider_lclstream.psik.states import JobState, Transition
from lclstreamer.core.errors import BadInputError
from lclstreamer.core.units import parse_bytes, parse_duration

__all__ = [
    "BackendConfig",
    "Callback",
    "JobSpec",
    "JobState",
    "PsikConfig",
    "ResourceSpec",
    "Transition",
]

MAX_SCRIPT_BYTES = 4 * 2**20
_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _minutes(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return parse_duration(value, bare_unit_seconds=60) / 60
        except BadInputError as error:
            raise ValueError(error.problem) from error
    return value


def _bytes(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return parse_bytes(value)
        except BadInputError as error:
            raise ValueError(error.problem) from error
    return value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ByteCount = Annotated[int, BeforeValidator(_bytes)]
"""A number of bytes; a text may carry units (``4 GiB``)."""
Info = Annotated[str, BeforeValidator(_text)]
"""A reason or native id: text, or the number that dialect v2 writes."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ResourceSpec(_Model):
    """What a job needs. Counts that are not given are left to the backend."""

    duration: Annotated[float, BeforeValidator(_minutes)] = Field(default=10, gt=0, le=366 * 1440)
    """Longest run time, in minutes; a text may carry units (``1h30m``, ``90s``)."""
    node_count: int | None = Field(default=None, ge=1, le=100_000)
    """Number of nodes."""
    process_count: int | None = Field(default=None, ge=1, le=10_000_000)
    """Number of processes over all nodes."""
    processes_per_node: int | None = Field(default=None, ge=1, le=100_000)
    """Number of processes on each node."""
    cpu_cores_per_process: int = Field(default=1, ge=1, le=100_000)
    """CPU cores for each process."""
    gpu_cores_per_process: int = Field(default=0, ge=0, le=1_000)
    """GPUs for each process."""
    memory: ByteCount | None = Field(default=None, ge=2**20, le=2**50)
    """Memory on each node, in bytes; a text may carry units (``4 GiB``)."""
    exclusive_node_use: bool = False
    """Whether no other job may share the nodes."""

    @model_validator(mode="before")
    @classmethod
    def _exact_duration(cls, data: Any) -> Any:
        # spec.json rounds minutes up for upstream's readers and keeps the exact seconds beside.
        if isinstance(data, dict) and "duration_seconds" in data:
            rest = {k: v for k, v in data.items() if k != "duration_seconds"}
            return {**rest, "duration": float(data["duration_seconds"]) / 60}
        return data

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        nodes, each, total = self.node_count, self.processes_per_node, self.process_count
        if nodes and each and total and total != nodes * each:
            raise ValueError(f"process_count {total} is not node_count {nodes} times {each} each")
        return self

    @property
    def duration_seconds(self) -> float:
        """The longest run time in seconds."""
        return self.duration * 60

    @property
    def processes(self) -> int:
        """The number of processes over all nodes, 1 where nothing is said."""
        return self.process_count or (self.node_count or 1) * (self.processes_per_node or 1)


class BackendConfig(_Model):
    """Where jobs run: which kind of backend, with which queue and account."""

    type: str = Field(default="local", pattern=_NAME)
    """The kind: ``local``, ``slurm``, ``ssh-slurm``, ``psik``, ``iri``, ``sfapi``, or one that an
    installed package adds."""
    queue_name: str | None = Field(default=None, max_length=200)
    """The scheduler's partition or queue."""
    project_name: str | None = Field(default=None, max_length=200)
    """The account that is charged."""
    reservation_id: str | None = Field(default=None, max_length=200)
    """A reservation to run in."""
    attributes: dict[str, str] = {}
    """Settings of this kind of backend; each kind documents and checks its own."""


class JobSpec(_Model):
    """What to run, with what, and whom to tell."""

    schema_command: ClassVar[str] = "lclstream psik schema"

    name: str | None = Field(default=None, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    """A human-readable name."""
    directory: str | None = Field(default=None, max_length=4096, pattern=r"^/[^\x00]*$")
    """Where the script runs, absolute; by default the job's own work folder."""
    script: str = Field(min_length=1)
    """The script. Its first line may name its interpreter; else bash runs it."""
    environment: dict[str, str] = {}
    """Environment variables of the script."""
    inherit_environment: bool = True
    """Whether the submitter's environment is passed on too."""
    resources: ResourceSpec = ResourceSpec()
    """What the job needs."""
    backend: str = Field(default="default", pattern=_NAME)
    """The configured backend to run on."""
    attributes: dict[str, str] = {}
    """Options for the backend, from its allow-list."""
    callback: str | None = Field(default=None, max_length=2000, pattern=r"^https?://[^\s]+$")
    """The URL that every change of state is posted to."""
    cb_headers: dict[str, str] = {}
    """Extra HTTP headers of each callback."""
    cb_secret: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("cb_secret", "client_secret")
    )
    """The key that signs each callback."""

    @model_validator(mode="before")
    @classmethod
    def _one_secret(cls, data: Any) -> Any:
        # Dialect v2 sends both names, the one it does not use as null.
        if isinstance(data, dict) and "client_secret" in data:
            rest = {k: v for k, v in data.items() if k != "client_secret"}
            return {**rest, "cb_secret": rest.get("cb_secret") or data["client_secret"]}
        return data

    @field_validator("script")
    @classmethod
    def _script_fits(cls, script: str) -> str:
        if "\0" in script:
            raise ValueError("the script holds a NUL character")
        if len(script.encode()) > MAX_SCRIPT_BYTES:
            raise ValueError(f"the script is longer than {MAX_SCRIPT_BYTES} bytes")
        return script

    @field_validator("environment")
    @classmethod
    def _variables(cls, variables: dict[str, str]) -> dict[str, str]:
        for name, value in variables.items():
            if not _VARIABLE.fullmatch(name) or "\0" in value:
                raise ValueError(f"{name!r} is not a valid environment variable")
        return variables

    @field_validator("cb_headers")
    @classmethod
    def _headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or not (value.isascii() and value.isprintable()):
                raise ValueError(f"{name!r} is not a header of printable ASCII characters")
        return headers

    @field_validator("callback")
    @classmethod
    def _reachable(cls, url: str | None) -> str | None:
        if url is not None:
            parts = urlsplit(url)  # raises ValueError for what is no URL
            if not parts.hostname or parts.port == 0:
                raise ValueError("the callback names no host that can be told")
        return url

    def to_stored(self) -> dict[str, Any]:
        """The document of ``spec.json``: readable by upstream's tools, without the secret."""
        document = self.model_dump(mode="json", exclude={"cb_secret"})
        resources = document["resources"]
        resources["duration_seconds"] = self.resources.duration_seconds
        resources["duration"] = math.ceil(self.resources.duration)
        return document


class Callback(_Model):
    """The body of a callback."""

    jobid: str = Field(pattern=r"^[0-9]+(\.[0-9]+)?$")
    """The job."""
    jobndx: int = Field(ge=0)
    """The attempt."""
    state: JobState
    """The state it reached."""
    info: Info = ""
    """The reason, exit code or native id."""


SERVICE_KEYS = frozenset({
    "policy", "environment", "max_body", "max_upload", "reconcile_seconds", "longest_wait_seconds",
})  # fmt: skip
"""Keys of a service's configuration, ignored here: a service and its CLI may share one file."""


class PsikConfig(_Model):
    """The configuration file ``psik.json``."""

    prefix: Path
    """The folder of job folders."""
    backends: dict[str, BackendConfig] = {"default": BackendConfig()}
    """The backends by name."""

    @model_validator(mode="before")
    @classmethod
    def _leave_the_services(cls, data: Any) -> Any:
        if cls is PsikConfig and isinstance(data, dict):
            return {key: value for key, value in data.items() if key not in SERVICE_KEYS}
        return data

    @field_validator("backends")
    @classmethod
    def _names(cls, backends: dict[str, BackendConfig]) -> dict[str, BackendConfig]:
        for name in backends:
            if not re.fullmatch(_NAME, name):
                raise ValueError(f"{name!r} cannot be a backend's name")
        return backends

    @field_validator("prefix")
    @classmethod
    def _absolute(cls, prefix: Path) -> Path:
        expanded = prefix.expanduser()
        if not expanded.is_absolute():
            raise ValueError("the prefix must be an absolute path")
        return expanded
