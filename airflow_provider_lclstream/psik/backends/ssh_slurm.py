"""SLURM behind ssh: for sites where the service's host has no sbatch but sees the job folders."""

from __future__ import annotations

import shlex

from pydantic import Field

from airflow_provider_lclstream.psik.backends.base import read_settings
from airflow_provider_lclstream.psik.backends.commands import Commands
from airflow_provider_lclstream.psik.backends.slurm import SlurmBackend, SlurmSettings


class SshSettings(SlurmSettings):
    """The attributes of an ssh-slurm backend, beside those of slurm."""

    host: str = Field(pattern=r"^[A-Za-z0-9_.@:\[\]-]+$")
    """``[user@]host`` of a login node."""
    ssh: str = "ssh -oBatchMode=yes -oConnectTimeout=10 -oServerAliveInterval=10"
    """The ssh command with its options."""


class SshSlurmBackend(SlurmBackend):
    """The same commands, each run on a login node."""

    def open_commands(self) -> Commands:
        """Put ssh and the host before every command."""
        settings = read_settings(SshSettings, self.name, self.config.attributes)
        return Commands([*shlex.split(settings.ssh), settings.host, "--"], is_shell=True)
