"""Jobs on a SLURM cluster: sbatch, squeue, sacct and scancel, here or through ssh.

The nodes must see the job folders and this package's Python at the same paths; the attribute
``python`` names another one. SLURM is asked in bulk: squeue first, then sacct (from its database,
else from the jobcomp file), then the job folder.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from airflow_provider_lclstream.psik.backends.base import Attempt, Observation, read_settings
from airflow_provider_lclstream.psik.backends.commands import Commands
from airflow_provider_lclstream.psik.backends.slurm_options import USER_OPTIONS, sbatch_options
from airflow_provider_lclstream.psik.backends.slurm_states import translate
from airflow_provider_lclstream.psik.layout import write_json
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.processes import ATTEMPT_VARIABLE
from airflow_provider_lclstream.psik.runner import conclude, reason_of
from airflow_provider_lclstream.psik.states import JobState
from lclstreamer.core.errors import BadInputError, LCLStreamError, UnavailableError

IDS_PER_CALL = 500
_SQUEUE_FORMAT = "%i|%T|%r|%k"
_SCRIPT = """#!/bin/bash
exec {python} -P -m airflow_provider_lclstream.psik.runner {folder} {jobndx}
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
        write_json(
            job.attempt(attempt.jobndx),
            {
                "backend": self.name,
                "directory": spec.directory,
                "inherit_environment": spec.inherit_environment,
                "environment": spec.environment,
                "mpirun": self.settings.mpirun,
                "grace_seconds": self.settings.grace_seconds,
            },
            mode=0o600,
            sync=False,
        )
        script = _SCRIPT.format(
            python=shlex.quote(self.settings.python),
            folder=shlex.quote(str(job.path)),
            jobndx=attempt.jobndx,
        )
        options = self._options(spec, _mark(attempt), str(job.console))
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
            if comment.strip() == _mark(attempt):
                return native_id.strip()
        return None

    def cancel(self, attempt: Attempt) -> None:
        """Call scancel. A job that SLURM no longer knows is left to `observe`."""
        native_id = _native_id(attempt)
        if not native_id:
            return
        try:
            self.commands.run(["scancel", "--quiet", native_id])
        except BadInputError as error:
            if "invalid job id" not in error.problem.lower():
                raise

    def observe(self, attempts: Sequence[Attempt]) -> Mapping[str, Observation]:
        """Ask squeue about all of them, then sacct about those it does not know."""
        known = {native: a for a in attempts if (native := _native_id(a))}
        seen = self._ask_squeue(known)
        missing = {native: a for native, a in known.items() if native not in seen}
        if missing:
            seen.update(self._ask_sacct(missing))
        found: dict[str, Observation] = {}
        for native, attempt in known.items():
            found[attempt.job.jobid] = (
                _explain(attempt, *seen[native]) if native in seen else _vanished(attempt, native)
            )
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
                if attempt is not None and comment.strip() == _mark(attempt):
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
                    answer = self.commands.run(command)
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


def _native_id(attempt: Attempt) -> str:
    """SLURM's id, from sbatch's answer, or as its runner noted it when that answer was lost."""
    noted = attempt.last.info if attempt.last.state is JobState.active else ""
    return attempt.native_id or (noted if noted.isdigit() else "")


def _is_later(end: str, attempt: Attempt) -> bool:
    """Whether an end as sacct writes it belongs to this attempt, not to an older job of its id."""
    try:
        return time.mktime(time.strptime(end, "%Y-%m-%dT%H:%M:%S")) >= attempt.last.time - 2
    except (ValueError, OverflowError):
        return True


def _mark(attempt: Attempt) -> str:
    return f"psik:{attempt.job.jobid}.{attempt.jobndx}"


def _explain(attempt: Attempt, slurm_state: str, reason: str) -> Observation:
    state, info = translate(slurm_state, reason)
    request, result = attempt.cancel_request, attempt.result
    if state is JobState.canceled and request is not None:
        return Observation(state, reason_of(request))
    if state is JobState.failed and slurm_state == "FAILED":
        # SLURM knows that it failed, its runner how.
        if result is not None:
            return Observation(*conclude({**result, "asked_to_end": False}, None))
        return Observation(state, f"{info}; its runner left no result, see log/console")
    if state is JobState.active and attempt.last.state is JobState.queued:
        # As its runner will say it, which may be a moment behind SLURM.
        return Observation(state, _native_id(attempt))
    return Observation(state, info)


def _vanished(attempt: Attempt, native: str) -> Observation:
    result, request = attempt.result, attempt.cancel_request
    if result is not None:
        return Observation(*conclude(result, request))
    if request is not None:
        return Observation(JobState.canceled, reason_of(request))
    return Observation(JobState.failed, f"SLURM no longer knows job {native}, and nothing says why")
