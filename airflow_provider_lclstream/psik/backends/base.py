"""The interface of a backend, and what is passed through it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from airflow_provider_lclstream.psik.layout import JobFolder, read_json, read_request
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.states import JobState, Transition
from lclstreamer.core.errors import ConfigurationError

Settings = TypeVar("Settings", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of one job.

    Attributes:
        job: its folder.
        jobndx: the number of the attempt, from 1.
        spec: what to run.
        last: the newest row of its state log.
    """

    job: JobFolder
    jobndx: int
    spec: JobSpec
    last: Transition

    @property
    def native_id(self) -> str | None:
        """What the scheduler calls it; None until it has taken it.

        Of one that it was handed twice, the id of the one that runs.
        """
        with contextlib.suppress(FileNotFoundError):
            if first := self.job.claim(self.jobndx).read_text(encoding="utf-8"):
                return first
        return (read_json(self.job.native(self.jobndx)) or {}).get("native_id")

    @property
    def cancel_request(self) -> dict[str, Any] | None:
        """The request to cancel it, with its reason; None if there is none."""
        return read_request(self.job.cancel_request(self.jobndx))

    @property
    def result(self) -> dict[str, Any] | None:
        """How its script ended, as its runner saw it; None before."""
        return read_json(self.job.result(self.jobndx))


@dataclass(frozen=True, slots=True)
class Observation:
    """What a backend knows of an attempt.

    Attributes:
        state: the state it is in.
        info: the reason.
        at: when it got there, in seconds since 1970, where the scheduler tells.
        has_run: whether it is known that its script was started.
    """

    state: JobState
    info: str = ""
    at: float | None = None
    has_run: bool = False


class Backend(Protocol):
    """Runs jobs somewhere.

    A class of this shape takes ``(name, config, prefix)``: its name in the configuration, its
    `BackendConfig`, and the folder of job folders. Methods raise `LCLStreamError`; one that is
    ``transient`` is tried again later by the reconciler, any other fails the job.
    """

    def __init__(self, name: str, config: BackendConfig, prefix: Path) -> None: ...

    def check(self, spec: JobSpec) -> None:
        """Refuse a job that could never run here, before anything is written."""
        ...

    def submit(self, attempt: Attempt) -> str:
        """Hand an attempt over, and return what the scheduler calls it."""
        ...

    def find(self, attempt: Attempt) -> str | None:
        """Look for what an earlier `submit` handed over whose answer was never recorded."""
        ...

    def cancel(self, attempt: Attempt) -> None:
        """End an attempt. Its state follows from `observe` once it has ended."""
        ...

    def observe(self, attempts: Sequence[Attempt]) -> Mapping[str, Observation]:
        """What is known about these attempts, by job id; absent where there is nothing new."""
        ...


def read_settings(kind: type[Settings], name: str, attributes: Mapping[str, str]) -> Settings:
    """Read a backend's attributes into the model of its settings.

    Raises:
        ConfigurationError: a setting is unknown or out of bounds; names each of them.
    """
    try:
        return kind.model_validate(dict(attributes))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg'].lower()}"
            for item in error.errors(include_url=False)
        )
        known = ", ".join(kind.model_fields)
        raise ConfigurationError(
            f"the attributes of backend {name!r} are wrong: {faults}",
            mend=f"fix them in psik.json; the known ones are {known}",
        ) from error
