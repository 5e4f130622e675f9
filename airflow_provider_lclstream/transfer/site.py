"""What is particular to a site: job backends, addresses, ports, launchers, environments.

Read from the YAML file that ``LCLSTREAM_SITE_FILE`` names. Without one, everything runs on this
machine with the programs installed beside the running Python.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from airflow_provider_lclstream.psik.models import PsikConfig
from lclstreamer.core.config_file import load_model
from lclstreamer.parameters.base import StrictModel

SITE_FILE_VARIABLE = "LCLSTREAM_SITE_FILE"
SIZE_PLACEHOLDER = "{size}"

MPICH_ENVIRONMENT = {
    # MPICH's default network layer hangs between nodes for messages of some 200 kB and more.
    "MPIR_CVAR_CH4_NETMOD": "ofi",
    "FI_PROVIDER": "tcp",
}


def default_programs() -> Path:
    """The folder of the programs installed beside the running Python."""
    return Path(sys.prefix) / "bin"


def default_launcher() -> tuple[str, ...]:
    """MPI's launcher: the one installed beside the running Python, else the one on PATH."""
    beside = default_programs() / "mpirun"
    return (str(beside) if beside.exists() else "mpirun", "-n", SIZE_PLACEHOLDER)


def default_jobs() -> PsikConfig:
    """Jobs of this user on this machine."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return PsikConfig(prefix=Path(state) / "lclstream" / "jobs")


class SiteSettings(StrictModel):
    """One site's settings; every one of them has a default for a single machine."""

    psik: PsikConfig = Field(default_factory=default_jobs)
    """The folder of jobs and the backends that requests may name."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")] = "127.0.0.1"
    """The address on which the buffer listens and which producers and consumers are told."""

    data_ports: Literal["plain", "tls"] = "plain"
    """Whether the buffer's ports are open to whoever reaches them, or mutual TLS (``tls+tcp://``):
    then the buffer's job needs a service's identity made for `host`, the streamer's job one that
    the buffer knows (``LCLSTREAM_IDENTITY`` in their environments), and ZeroMQ is not offered."""

    port_range: Annotated[str, Field(pattern=r"^\d{1,5}-\d{1,5}$")] | None = None
    """Ports the buffer may choose from, e.g. ``30000-30100``; any free one where not given."""

    programs: Path = Field(default_factory=default_programs)
    """The folder of ``lclstreamer`` and ``nng-stream`` on the machines that run the jobs."""

    launcher: tuple[str, ...] = Field(default_factory=default_launcher)
    """The command that starts ``{size}`` ranks which talk to each other (psana)."""

    independent_launcher: tuple[str, ...] = ()
    """The command that starts ``{size}`` ranks which do not, so that one may die without the
    others, e.g. ``srun -n {size} --kill-on-bad-exit=0``. Empty: the job's shell starts them on
    its node (MPICH's mpirun ends all of them with the first that is killed)."""

    streamer_environment: dict[str, str] = Field(default_factory=lambda: dict(MPICH_ENVIRONMENT))
    """Variables added to the streamer's environment."""

    buffer_environment: dict[str, str] = Field(default_factory=dict)
    """Variables added to the buffer's environment."""

    @field_validator("launcher", "independent_launcher")
    @classmethod
    def _launcher_takes_size(cls, launcher: tuple[str, ...]) -> tuple[str, ...]:
        if launcher and not any(SIZE_PLACEHOLDER in word for word in launcher):
            raise ValueError(f"must contain {SIZE_PLACEHOLDER}, the number of ranks")
        return launcher

    @field_validator("port_range")
    @classmethod
    def _range_rises(cls, port_range: str | None) -> str | None:
        if port_range is not None:
            first, last = map(int, port_range.split("-"))
            if not 0 < first <= last < 65536:
                raise ValueError("must be FIRST-LAST with 1 ≤ FIRST ≤ LAST ≤ 65535")
        return port_range


def load_site(path: Path | str | None = None) -> SiteSettings:
    """The site's settings from a file, from ``LCLSTREAM_SITE_FILE``, or the defaults.

    Raises:
        ConfigurationError: the file cannot be read or has mistakes; lists every one.
    """
    chosen = path or os.environ.get(SITE_FILE_VARIABLE)
    return load_model(chosen, SiteSettings) if chosen else SiteSettings()
