"""The configuration of a Psik-API service: psik.json, and what a service adds to it."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field

from airflow_provider_lclstream.psik.models import ByteCount, PsikConfig
from airflow_provider_lclstream.psik_api.policy import Policy

Limit = Annotated[ByteCount, Field(ge=1, le=2**50)]


def _plain_environment() -> dict[str, str]:
    """What a job needs of the service's environment, which may hold secrets, and no more."""
    names = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "SLURM_CONF")
    return {name: os.environ[name] for name in names if name in os.environ}


class ServiceConfig(PsikConfig):
    """A service's configuration file."""

    policy: Policy = Policy()
    """Who may do what. Without it everybody with a trusted certificate has jobs of their own."""
    environment: dict[str, str] = Field(default_factory=_plain_environment)
    """Environment variables of every job, beside those of its specification."""
    max_body: Limit = 2**23
    """Longest JSON body of a request; a text may carry units."""
    max_upload: Limit = 2**34
    """Largest file that may be uploaded; a text may carry units."""
    reconcile_seconds: float = Field(default=2, gt=0, le=3600)
    """How often the backends are asked about unfinished jobs."""
    longest_wait_seconds: float = Field(default=60, ge=0, le=600)
    """The longest `wait` of a long-poll."""
