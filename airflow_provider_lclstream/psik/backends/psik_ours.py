"""Jobs on another Psik-API service of ours, in its dialect /v4.

A job is made with an idempotency key, so that a repeated submission finds it; callbacks are sent
from here. What it leaves there comes here before its end is recorded.
"""

from __future__ import annotations

import contextlib
import json
import tarfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from airflow_provider_lclstream.psik.backends.base import Attempt, Observation
from airflow_provider_lclstream.psik.backends.psik_signs import gone
from airflow_provider_lclstream.psik.backends.results import (
    ResultsRefusedError,
    received,
    write_below,
)
from airflow_provider_lclstream.psik.endings import reason_of
from airflow_provider_lclstream.psik.facts import JobLine
from airflow_provider_lclstream.psik.layout import PRIVATE, write_json
from airflow_provider_lclstream.psik.models import JobSpec, JobState
from airflow_provider_lclstream.psik.states import TransitionRefusedError

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.access.service import ServiceAccess
    from airflow_provider_lclstream.psik.backends.psik_settings import RemoteSettings


class OurJobs:
    """Hands attempts to such a service and follows them there.

    Args:
        settings: the backend's.
        prefix: the folder of job folders here.
        open_access: opens the service.
    """

    def __init__(
        self, settings: RemoteSettings, prefix: Path, open_access: Callable[[], ServiceAccess]
    ) -> None:
        self._settings, self._prefix, self._open = settings, prefix, open_access

    def submit(self, attempt: Attempt) -> str:
        """Make the job there, send its files, start it; returns its id there."""
        with self._open() as service, contextlib.closing(_files_of(attempt.job.work)) as files:
            return service.create_with(self._spec(attempt), _key(attempt), files).jobid

    def find(self, attempt: Attempt) -> str | None:
        """The id of a job that an earlier, interrupted call made and started.

        One that was not started is left to `submit`, which goes on with it; if it is to be
        canceled, it is returned too.
        """
        with self._open() as service:
            facts = service.create_with(self._spec(attempt), _key(attempt), (), submit=False)
        is_new = facts.state is JobState.new and attempt.cancel_request is None
        return None if is_new else facts.jobid

    def _spec(self, attempt: Attempt) -> JobSpec:
        remote = {
            "backend": self._settings.remote_backend,
            "attributes": json.loads(self._settings.next),
        }
        untold = {"callback": None, "cb_headers": {}, "cb_secret": None}
        return attempt.spec.model_copy(update={**remote, **untold})

    def cancel(self, jobid: str) -> None:
        """Cancel it there."""
        with self._open() as service:
            service.cancel(jobid)

    def observe(self, theirs: Mapping[str, Attempt]) -> dict[str, Observation]:
        """What is known of these, given by their ids there; the answer is by their ids here."""
        wanted, found = dict(theirs), dict[str, Observation]()
        with self._open() as service:
            for line in service.each_line():
                attempt = wanted.pop(line.jobid, None)
                if attempt is not None:
                    seen = self._explain(service, attempt, line)
                    if seen is not None:
                        found[attempt.job.jobid] = seen
                if not wanted:
                    return found
        return found | {attempt.job.jobid: gone(attempt) for attempt in wanted.values()}

    def _explain(
        self, service: ServiceAccess, attempt: Attempt, line: JobLine
    ) -> Observation | None:
        if line.state is JobState.new:
            with contextlib.suppress(TransitionRefusedError):  # started in between
                service.start(line.jobid)
            return None
        if not line.state.is_final:
            waits = f"waiting there: {line.remark}" if line.remark else "waiting there"
            return Observation(line.state, line.info if line.state is JobState.active else waits)
        job = service.look(line.jobid)
        has_run = any(row.state is JobState.active for row in job.history)
        try:
            self._fetch(service, attempt, line.jobid)
        except ResultsRefusedError as error:
            return error.as_end(line.state)
        if job.result is not None:
            write_json(attempt.job.result(attempt.jobndx), job.result, sync=False)
        request = attempt.cancel_request
        if line.state is JobState.canceled and request is not None:
            return Observation(line.state, reason_of(request), has_run=has_run)
        return Observation(line.state, line.info, has_run=has_run)

    def _fetch(self, service: ServiceAccess, attempt: Attempt, jobid: str) -> None:
        """Bring the work folder and the logs here, whole or not at all."""
        scratch, limit = self._prefix / PRIVATE, self._settings.max_results
        with received(service.results(jobid), scratch, limit) as tar:
            for member in tar:
                _unpack(tar, member, attempt)


def _key(attempt: Attempt) -> str:
    """The idempotency key of an attempt's job there."""
    return f"{attempt.job.jobid}.{attempt.jobndx}"


def _files_of(work: Path) -> Generator[Mapping[str, bytes | IO[bytes]]]:
    """The files of a work folder, each open while it is sent."""
    for path in sorted(p for p in work.rglob("*") if p.is_file() and not p.is_symlink()):
        with path.open("rb") as stream:
            yield {path.relative_to(work).as_posix(): stream}


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, attempt: Attempt) -> None:
    top, _, rest = member.name.partition("/")
    if not member.isreg() or not rest or top not in {"work", "log"}:
        return
    if top == "log":
        # Its attempts there are numbered from 1; the remote console stands beside ours.
        stem, _, _ = rest.partition(".")
        rest = f"{stem}.{attempt.jobndx}" if stem in {"stdout", "stderr"} else f"remote-{rest}"
    write_below(attempt.job.work if top == "work" else attempt.job.logs, rest, tar, member)
