"""Jobs on this machine: a bounded number of slots, each script in its own session."""

from __future__ import annotations

import logging
import os
import platform
import signal
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_lclstream.psik.backends.base import (
    Attempt,
    Observation,
    read_settings,
)
from airflow_provider_lclstream.psik.endings import conclude_unseen, reason_of
from airflow_provider_lclstream.psik.layout import read_json, write_json
from airflow_provider_lclstream.psik.local_queue import LocalQueue
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.processes import (
    ATTEMPT_VARIABLE,
    ProcessId,
    end_all,
    reap_children,
)
from airflow_provider_lclstream.psik.state_log import StateLog
from airflow_provider_lclstream.psik.states import JobState

logger = logging.getLogger(__name__)
MAX_STARTS = 3
"""How often a runner that died before it began its script is replaced."""
OVERDUE_SECONDS = 600.0
"""How long after its time limit an attempt of another host is given up."""


class LocalSettings(BaseModel):
    """The attributes of a local backend."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    slots: int = Field(default=32, ge=1, le=10_000)
    """How many jobs run at once; the others wait."""
    grace_seconds: float = Field(default=10, ge=0, le=3600)
    """How long a script has between SIGTERM and SIGKILL."""
    mpirun: str = "mpirun"
    """What a script finds in ``$mpirun``."""


@contextmanager
def _noted(what: str) -> Generator[None]:
    """A folder that cannot be read or written must not keep the others from being looked at."""
    try:
        yield
    except OSError as error:
        logger.warning("a local job is left as it is", extra={"problem": f"{what}: {error}"})


def _unseen(attempt: Attempt, problem: str) -> Observation:
    return Observation(*conclude_unseen(attempt.result, attempt.cancel_request, problem))


class LocalBackend:
    """Runs scripts as processes of this machine, each around a small runner."""

    def __init__(self, name: str, config: BackendConfig, prefix: Path) -> None:
        self.name = name
        self.settings = read_settings(LocalSettings, name, config.attributes)
        self.queue = LocalQueue(prefix, name, self.settings.slots)

    def check(self, spec: JobSpec) -> None:
        """Every job can run here; attributes meant for schedulers are passed over."""

    def submit(self, attempt: Attempt) -> str:
        """Write down what the runner needs and queue the attempt."""
        spec = attempt.spec
        inherited = dict(os.environ) if spec.inherit_environment else {}
        inherited.pop(ATTEMPT_VARIABLE, None)
        settings: dict[str, Any] = {
            "backend": self.name,
            "slots": self.settings.slots,
            "time_limit_seconds": spec.resources.duration_seconds,
            "grace_seconds": self.settings.grace_seconds,
            "directory": spec.directory,
            "inherited_environment": inherited,
            "environment": spec.environment,
            "mpirun": f"{self.settings.mpirun} -n {spec.resources.processes}",
        }
        write_json(attempt.job.attempt(attempt.jobndx), settings, mode=0o600, sync=False)
        self.queue.add(attempt.job.jobid, attempt.last)
        self.queue.serve()
        return platform.node()

    def find(self, attempt: Attempt) -> str | None:
        """Look for its ticket, or the runner that was started for it."""
        runner, _ = self._processes(attempt)
        is_queued = self.queue.ticket(attempt.job.jobid, attempt.last).exists()
        return platform.node() if is_queued or runner is not None else None

    def cancel(self, attempt: Attempt) -> None:
        """Take it out of the queue, or ask its runner to end it."""
        row = attempt.last
        if row.state is JobState.queued and self.queue.withdraw(attempt.job, row) is None:
            return
        runner, _ = self._processes(attempt)
        if runner is not None and runner.can_be_judged and runner.is_alive:
            with suppress(ProcessLookupError):
                os.kill(runner.pid, signal.SIGTERM)

    def observe(self, attempts: Sequence[Attempt]) -> Mapping[str, Observation]:
        """Look for each attempt's runner, by pid and start time; queue again what lost its own."""
        reap_children()
        found: dict[str, Observation] = {}
        for attempt in attempts:
            with _noted(str(attempt.job.path)):
                seen = self._observe(attempt)
                if seen is not None:
                    found[attempt.job.jobid] = seen
        with _noted("the queue"):
            self.queue.serve()
        return found

    def _observe(self, attempt: Attempt) -> Observation | None:
        runner, starts = self._processes(attempt)
        if runner is not None and not runner.can_be_judged:
            return self._overdue(attempt, runner.host)
        if runner is not None and runner.is_alive:
            return None
        # Only now, with the runner gone, is the log's last row the runner's last word.
        last = StateLog(attempt.job.status).last()
        if last is None or last.jobndx != attempt.jobndx or last.state.is_final:
            return None
        request = attempt.cancel_request
        if last.state is JobState.queued:
            if request is not None:
                self.queue.withdraw(attempt.job, last)
                return Observation(JobState.canceled, reason_of(request))
            if starts >= MAX_STARTS:
                return Observation(JobState.failed, "its runner could not start: see log/console")
            self.queue.add(attempt.job.jobid, last)
            return None
        return self._end(attempt, runner)

    def _end(self, attempt: Attempt, runner: ProcessId | None) -> Observation:
        """How an attempt ended whose runner is gone without a word."""
        noted = read_json(attempt.job.runner(attempt.jobndx)) or {}
        script = ProcessId.from_dict(noted.get("script"))
        session = script.session if script is not None else None
        end_all(
            session, f"{attempt.job.path}#{attempt.jobndx}", min(2.0, self.settings.grace_seconds)
        )
        pid = f" (pid {runner.pid})" if runner is not None else ""
        return _unseen(attempt, f"its runner was killed{pid}")

    def _overdue(self, attempt: Attempt, host: str) -> Observation | None:
        """The end of an attempt on a host that does not come back: a container of another name."""
        limit = attempt.spec.resources.duration_seconds + self.settings.grace_seconds
        if time.time() - attempt.last.time < limit + OVERDUE_SECONDS:
            return None
        return _unseen(attempt, f"host {host} has not said how it ended, long after its time")

    def _processes(self, attempt: Attempt) -> tuple[ProcessId | None, int]:
        noted = read_json(attempt.job.runner(attempt.jobndx)) or {}
        return ProcessId.from_dict(noted.get("runner")), int(noted.get("starts", 0))
