"""The attributes of a psik backend, for either dialect."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_lclstream.psik.backends.psik_carrier import BEAT_SECONDS


class RemoteSettings(BaseModel):
    """The attributes of a psik backend."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    remote_url: str = Field(pattern=r"^https?://[^\s]+$")
    """Where the service listens; ``https://ALIAS`` for one that this identity knows."""
    remote_backend: str = "default"
    """The backend that runs the job there."""
    next: str = "{}"
    """The attributes that the job has there, as a JSON object."""
    dialect: Literal["auto", "v4", "v3", "v2"] = "auto"
    """What the service speaks: ours is v4, upstream's v3 or v2; unless told, it is asked."""
    grace_seconds: float = Field(default=10, ge=0, le=3600)
    """With v3 and v2: how long a script has between SIGTERM and SIGKILL."""
    patience_seconds: float = Field(default=90, ge=2 * BEAT_SECONDS, le=86400)
    """With v3 and v2: how long a job may give no sign of life, or stay unqueued there."""
    identity: str | None = None
    """The identity folder; by default this environment's."""
    max_results: int = Field(default=2**36, ge=1)
    """Largest results that are fetched, in bytes."""
