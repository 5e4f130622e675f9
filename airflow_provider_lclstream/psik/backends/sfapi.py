"""Jobs through NERSC's Superfacility API v1.2.

NERSC's nodes must see the job folders (on the community file system, say) and this package's
Python. A submission is a task of the service; its id is kept, so that a call cut short finds the
job again. States come from sacct, uncached, and mean what they mean with SLURM.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_lclstream.psik.backends.base import Attempt, Observation, read_settings
from airflow_provider_lclstream.psik.backends.facility import FacilityClient, FacilityRefusalError
from airflow_provider_lclstream.psik.backends.scheduled import (
    explain_slurm,
    is_recent,
    mark_of,
    native_id_of,
    note_settings,
    runner_command,
    vanished,
)
from airflow_provider_lclstream.psik.backends.sfapi_token import TokenSource
from airflow_provider_lclstream.psik.backends.slurm_options import (
    USER_OPTIONS,
    queue_options,
    resource_options,
    site_options,
    user_options,
)
from airflow_provider_lclstream.psik.layout import read_json, write_json
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from lclstreamer.core.errors import BadInputError, UnavailableError

IDS_PER_CALL = 100
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 3.0


class SfapiSettings(BaseModel):
    """The attributes of an sfapi backend; those that begin with ``--`` become #SBATCH lines."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    key_file: str
    """The client's private key in PEM, mode 0600; its first line may be the client id."""
    client_id: str | None = None
    """The client id, where the key file does not begin with it."""
    machine: str = Field(default="perlmutter", pattern=r"^[A-Za-z0-9_-]+$")
    """The machine that runs the jobs."""
    url: str = "https://api.nersc.gov/api/v1.2"
    """The API."""
    token_url: str = "https://oidc.nersc.gov/c2id/token"  # noqa: S105  (a place, no secret)
    """Where tokens are given."""
    python: str = sys.executable
    """The Python on the nodes that has this package."""
    mpirun: str = "srun"
    """What a script finds in ``$mpirun``."""
    grace_seconds: float = Field(default=10, ge=0, le=3600)
    """How long a script has between SIGTERM and SIGKILL, if SLURM leaves it as long."""
    task_seconds: float = Field(default=60, gt=0, le=600)
    """How long one call waits for a submission's task; the next one goes on waiting."""
    patience_seconds: float = Field(default=120, ge=0, le=86400)
    """How long a job may be unknown to sacct after its last change."""


class SfapiBackend:
    """Hands jobs to NERSC and asks it about them."""

    def __init__(self, name: str, config: BackendConfig, prefix: Path) -> None:
        self.name, self.config, self.prefix = name, config, prefix
        self.settings = read_settings(SfapiSettings, name, config.attributes)
        settings = self.settings
        self.client = FacilityClient(
            settings.url, TokenSource(settings.token_url, settings.key_file, settings.client_id)
        )

    def check(self, spec: JobSpec) -> None:
        """Refuse attributes that are not allowed."""
        user_options(spec.attributes, USER_OPTIONS)

    def submit(self, attempt: Attempt) -> str:
        """Send a batch script and wait for the task that submits it; returns SLURM's job id."""
        settings = self.settings
        note_settings(attempt, self.name, settings.mpirun, settings.grace_seconds)
        form = {"job": self._script(attempt), "isPath": "false"}
        answer = self.client.read(dict, "POST", self._path(), data=form, is_repeatable=False)
        _raise_error(answer)
        task_id = str(answer.get("task_id"))
        write_json(_task_note(attempt), {"task_id": task_id}, sync=False)
        return self._wait_for_task(task_id)

    def find(self, attempt: Attempt) -> str | None:
        """Go on with the task of an earlier, interrupted call; else look for the job's name."""
        task_id = (read_json(_task_note(attempt)) or {}).get("task_id")
        if task_id is not None:
            try:
                return self._wait_for_task(task_id)
            except FacilityRefusalError as error:
                if error.status != 404:
                    raise  # of a task that is forgotten, the job is looked for by its name
        user = self.client.read(dict, "GET", "/account/").get("name")
        for row in self._sacct(f"user={user}"):
            if row.get("jobname") == mark_of(attempt):
                return str(row["jobid"])
        return None

    def cancel(self, attempt: Attempt) -> None:
        """Cancel it. One that SLURM no longer knows is left to `observe`."""
        native_id = native_id_of(attempt)
        if not native_id:
            return
        try:
            _raise_error(self.client.read(dict, "DELETE", self._path(native_id)))
        except BadInputError as error:
            is_gone = isinstance(error, FacilityRefusalError) and error.status == 404
            if not is_gone and "invalid job id" not in error.problem.lower():
                raise

    def observe(self, attempts: Sequence[Attempt]) -> Mapping[str, Observation]:
        """Ask sacct about all of them, a hundred at a time."""
        known = {native: a for a in attempts if (native := native_id_of(a))}
        ids, seen = sorted(known), dict[str, tuple[str, str]]()
        for start in range(0, len(ids), IDS_PER_CALL):
            for row in self._sacct(f"jobid={','.join(ids[start : start + IDS_PER_CALL])}"):
                attempt = known.get(str(row.get("jobid")))
                # Steps have ids such as 7.batch; the name tells a job from an older one of its id.
                if attempt is not None and row.get("jobname") == mark_of(attempt):
                    seen[str(row["jobid"])] = str(row.get("state")), str(row.get("reason") or "")
        found: dict[str, Observation] = {}
        for native, attempt in known.items():
            if native in seen:
                found[attempt.job.jobid] = explain_slurm(attempt, *seen[native])
            elif not is_recent(attempt, self.settings.patience_seconds):
                found[attempt.job.jobid] = vanished(attempt, "NERSC")
        return found

    def _wait_for_task(self, task_id: str) -> str:
        deadline = time.monotonic() + self.settings.task_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            task = self.client.read(dict, "GET", f"/tasks/{task_id}")
            if str(task.get("status", "")).lower() in {"error", "failed", "cancelled"}:
                raise BadInputError(
                    f"NERSC did not submit the job: {task.get('result')}", mend="fix the job"
                )
            if task.get("result") is not None:
                return _jobid_of(task["result"])
            if time.monotonic() + pause > deadline:
                raise UnavailableError(
                    f"task {task_id} has not submitted the job yet",
                    mend="it is retried automatically",
                )
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _sacct(self, filtered: str) -> list[dict[str, Any]]:
        params = {"sacct": "true", "cached": "false", "kwargs": filtered}
        answer = self.client.read(dict, "GET", self._path(), params=params)
        _raise_error(answer)
        return answer.get("output") or []

    def _path(self, native_id: str = "") -> str:
        path = f"/compute/jobs/{self.settings.machine}"
        return f"{path}/{native_id}" if native_id else path

    def _script(self, attempt: Attempt) -> str:
        spec, console = attempt.spec, str(attempt.job.console)
        options = [
            "--no-requeue",
            f"--job-name={mark_of(attempt)}",
            f"--output={console.replace('%', '%%')}",
            "--open-mode=append",
            f"--chdir={attempt.job.path}",
            *resource_options(spec.resources),
            *queue_options(self.config),
            *site_options(self.config.attributes),
            *user_options(spec.attributes, USER_OPTIONS),
        ]
        lines = [f"#SBATCH {shlex.quote(option)}" for option in options]
        command = shlex.join(runner_command(self.settings.python, attempt))
        return "\n".join(["#!/bin/bash", *lines, f"exec {command}", ""])


def _task_note(attempt: Attempt) -> Path:
    return attempt.job.private / f"task.{attempt.jobndx}.json"


def _raise_error(answer: Mapping[str, Any]) -> None:
    """Most of its failures come with HTTP status 200 and say so inside."""
    if str(answer.get("status", "")).lower() == "error":
        said = " ".join(str(answer.get("error")).split())[:500]
        raise BadInputError(f"NERSC refused: {said}", mend="fix the job or the backend's settings")


def _jobid_of(result: str) -> str:
    """The job id in a task's result, which is JSON in a string."""
    try:
        document = json.loads(result)
    except ValueError:
        document = None
    if isinstance(document, dict):
        _raise_error(document)  # pyright: ignore[reportUnknownArgumentType]
        jobid = str(document.get("jobid") or "")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        if jobid.isdigit():
            return jobid
    raise UnavailableError(
        f"the task that submits the job answered {result!r}", mend="it is looked for by its name"
    )
