"""Jobs on a SLURM cluster: sbatch, squeue, sacct and scancel, here or through ssh.

The nodes must see the job folders and this package's Python at the same paths; the attribute
``python`` names another one. SLURM is asked in bulk: squeue first, then sacct (from its database,
else from the jobcomp file), then the job folder.
"""

from __future__ import annotations

import calendar
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from airflow_provider_lclstream.psik.backends.base import Attempt, Observation, read_settings
from airflow_provider_lclstream.psik.backends.commands import Commands
from airflow_provider_lclstream.psik.backends.scheduled import (
    explain_slurm,
    is_recent,
    mark_of,
    native_id_of,
    note_settings,
    runner_command,
    vanished,
)
from airflow_provider_lclstream.psik.backends.slurm_options import USER_OPTIONS, sbatch_options
from airflow_provider_lclstream.psik.backends.slurm_states import translate
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.processes import ATTEMPT_VARIABLE
from lclstreamer.core.errors import BadInputError, LCLStreamError, UnavailableError

IDS_PER_CALL = 500
_SQUEUE_FORMAT = "%i|%T|%r|%k"
_TIME = "%Y-%m-%dT%H:%M:%S"
_TIMES = {"TZ": "UTC", "SLURM_TIME_FORMAT": _TIME}
"""How times are written: the cluster may lie in another time zone than this service."""
_SCRIPT = """#!/bin/bash
exec {}
"""


class SlurmSettings(BaseModel):
    """The attributes of a slurm backend; those that begin with ``--`` go to sbatch as they are."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    python: str = Field(
        default=sys.executable, validation_alias=AliasChoices("python", "psik_python")
    )
    """The Python on the nodes that has this package."""
    mpirun: str = "srun"
    """What a script finds in ``$mpirun``."""
    grace_seconds: float = Field(default=10, ge=0, le=3600)
    """How long a script has between SIGTERM and SIGKILL, if SLURM leaves it as long."""
    patience_seconds: float = Field(default=5, ge=0, le=3600)
    """How long a job may be unknown to squeue and sacct after its last change; more where a site's
    squeue answers from a cache."""
    allowed: str | None = None
    """The sbatch options a user may name, by commas; ``+--x,--y`` adds to the usual ones."""

    @property
    def allowed_options(self) -> frozenset[str]:
        """The options a user may name."""
        if self.allowed is None:
            return USER_OPTIONS
        named = {word.strip() for word in self.allowed.lstrip("+").split(",") if word.strip()}
        return frozenset(named) | (USER_OPTIONS if self.allowed.startswith("+") else frozenset())


class SlurmBackend:
    """Hands jobs to SLURM and asks it about them."""

    def __init__(self, name: str, config: BackendConfig, prefix: Path) -> None:
        self.name, self.config, self.prefix = name, config, prefix
        self.settings = read_settings(SlurmSettings, name, config.attributes)
        self.commands = self.open_commands()

    def open_commands(self) -> Commands:
        """How this backend reaches SLURM's commands."""
        return Commands()

    def check(self, spec: JobSpec) -> None:
        """Refuse attributes that are not allowed."""
        self._options(spec, "", "")

    def submit(self, attempt: Attempt) -> str:
        """Call sbatch; returns SLURM's job id."""
        spec, job = attempt.spec, attempt.job
        note_settings(attempt, self.name, self.settings.mpirun, self.settings.grace_seconds)
        script = _SCRIPT.format(shlex.join(runner_command(self.settings.python, attempt)))
        options = self._options(spec, mark_of(attempt), str(job.console))
        answer = self.commands.run(
            ["sbatch", f"--chdir={job.path}", *options],
            text=script,
            environment=_exported(spec),
        )
        native_id = answer.strip().split(";")[0].splitlines()[-1] if answer.strip() else ""
        if not native_id.isdigit():
            raise UnavailableError(
                f"sbatch answered {answer!r}", mend="it is looked for by its mark"
            )
        return native_id

    def find(self, attempt: Attempt) -> str | None:
        """Look for a job that an earlier, interrupted call handed over, by its comment."""
        answer = self.commands.run(
            ["squeue", "--noheader", "--me", "--states=all", "--format=%i|%k"]
        )
        for line in answer.splitlines():
            native_id, _, comment = line.partition("|")
            if comment.strip() == mark_of(attempt):
                return native_id.strip()
        return None

    def cancel(self, attempt: Attempt) -> None:
        """Call scancel. A job that SLURM no longer knows is left to `observe`."""
        native_id = native_id_of(attempt)
        if not native_id:
            return
        try:
            self.commands.run(["scancel", "--quiet", native_id])
        except BadInputError as error:
            if "invalid job id" not in error.problem.lower():
                raise

    def observe(self, attempts: Sequence[Attempt]) -> Mapping[str, Observation]:
        """Ask squeue about all of them, then sacct about those it does not know."""
        known = {native: a for a in attempts if (native := native_id_of(a))}
        seen = self._ask_squeue(known)
        missing = {native: a for native, a in known.items() if native not in seen}
        if missing:
            seen.update(self._ask_sacct(missing))
        found: dict[str, Observation] = {}
        for native, attempt in known.items():
            if native in seen:
                found[attempt.job.jobid] = explain_slurm(attempt, *seen[native])
            elif attempt.result or not is_recent(attempt, self.settings.patience_seconds):
                found[attempt.job.jobid] = vanished(attempt, "SLURM")
        return found

    def _options(self, spec: JobSpec, mark: str, console: str) -> list[str]:
        allowed = self.settings.allowed_options
        return sbatch_options(spec, self.config, allowed, mark=mark, console=console)

    def _ask_squeue(self, known: Mapping[str, Attempt]) -> dict[str, tuple[str, str]]:
        """SLURM's state and reason, by its id; only where the job is really ours."""
        seen: dict[str, tuple[str, str]] = {}
        ids = sorted(known)
        for start in range(0, len(ids), IDS_PER_CALL):
            some = ",".join(ids[start : start + IDS_PER_CALL])
            command = ["squeue", "--noheader", "--states=all", f"--jobs={some}"]
            try:
                answer = self.commands.run([*command, f"--format={_SQUEUE_FORMAT}"])
            except BadInputError as error:
                # With a single id that it has forgotten, squeue fails; with several it is silent.
                if "invalid job id" not in error.problem.lower():
                    raise
                continue
            for line in answer.splitlines():
                native, state, reason, comment = (*line.split("|", 3), "", "", "")[:4]
                attempt = known.get(native)
                # A cluster that lost its state counts from 1 again; the comment tells them apart.
                if attempt is not None and comment.strip() == mark_of(attempt):
                    seen[native] = (state, reason)
        return seen

    def _ask_sacct(self, known: Mapping[str, Attempt]) -> dict[str, tuple[str, str]]:
        """Final states from SLURM's accounting, of its database or else of its jobcomp file."""
        seen: dict[str, tuple[str, str]] = {}
        ids = sorted(known)
        for start in range(0, len(ids), IDS_PER_CALL):
            some = ",".join(ids[start : start + IDS_PER_CALL])
            words = ["-P", "-n", "-X", "-o", "JobID,State,End", "-j", some]
            for command in (["sacct", *words], ["sacct", "-c", *words]):
                try:
                    answer = self.commands.run(command, variables=_TIMES)
                except UnavailableError:
                    raise
                except LCLStreamError:
                    continue  # no such kind of accounting here
                for line in answer.splitlines():
                    native, state, end = (*line.split("|"), "", "")[:3]
                    # An unfinished job that squeue does not know is one whose end got lost.
                    if native not in known or not translate(state)[0].is_final:
                        continue
                    if _is_later(end, known[native]):
                        seen.setdefault(native, (state, ""))
                break
        return seen


def _exported(spec: JobSpec) -> dict[str, str]:
    """The environment of sbatch itself. What it does not have it cannot export to the job."""
    if spec.inherit_environment:
        # A job may submit jobs; they must not bear its mark, or they would end with it.
        return {key: value for key, value in os.environ.items() if key != ATTEMPT_VARIABLE}
    # Its option --export=NONE would load the user's login environment instead.
    keep = ("PATH", "HOME", "USER", "LOGNAME", "SLURM_CONF")
    return {key: os.environ[key] for key in keep if key in os.environ}


def _is_later(end: str, attempt: Attempt) -> bool:
    """Whether an end as sacct writes it belongs to this attempt, not to an older job of its id."""
    try:
        return calendar.timegm(time.strptime(end, _TIME)) >= attempt.last.time - 2
    except (ValueError, OverflowError):
        return True
