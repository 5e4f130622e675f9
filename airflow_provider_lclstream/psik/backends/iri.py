"""Jobs through the IRI facility API v1, as S3DF, NERSC and ALCF offer it.

Its JobSpec is PSI/J's. The facility's nodes must see the job folders and this package's Python, as
with SLURM. Sites differ: NERSC refuses idempotency keys and starts the command once per process,
S3DF lists live jobs only, and neither keeps the reason of a failure, which our runner does.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_provider_lclstream.psik.backends.base import Attempt, Observation, read_settings
from airflow_provider_lclstream.psik.backends.facility import FacilityClient, FacilityRefusalError
from airflow_provider_lclstream.psik.backends.facility_secrets import TokenFile
from airflow_provider_lclstream.psik.backends.iri_spec import (
    IriSettings,
    custom_attributes,
    job_spec,
    name_of,
)
from airflow_provider_lclstream.psik.backends.scheduled import (
    is_recent,
    native_id_of,
    note_settings,
    vanished,
)
from airflow_provider_lclstream.psik.endings import conclude, reason_of
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, JobState
from lclstreamer.core.errors import UnavailableError

_Q = JobState.queued
STATES = {"new": _Q, "queued": _Q, "held": _Q, "active": JobState.active} | {
    str(state): state for state in (JobState.completed, JobState.failed, JobState.canceled)
}
"""The API's states → ours."""
PAGE = 1000


class IriBackend:
    """Hands jobs to a facility and asks it about them."""

    def __init__(self, name: str, config: BackendConfig, prefix: Path) -> None:
        self.name, self.config, self.prefix = name, config, prefix
        self.settings = read_settings(IriSettings, name, config.attributes)
        self.client = FacilityClient(self.settings.url, TokenFile(self.settings.token_file))
        self._takes_keys = True

    def check(self, spec: JobSpec) -> None:
        """Refuse attributes that are not allowed."""
        custom_attributes(spec, self.config, self.settings)

    def submit(self, attempt: Attempt) -> str:
        """Launch it; returns its id there."""
        settings = self.settings
        note_settings(attempt, self.name, settings.mpirun, settings.grace_seconds)
        document = job_spec(attempt, self.config, settings)
        job = self._launch(self._path("job"), document, name_of(attempt))
        native_id = job.get("id")
        if not isinstance(native_id, str) or not native_id:
            raise UnavailableError(
                f"the facility answered {job!r}", mend="it is looked for by its name"
            )
        return native_id

    def _launch(self, path: str, document: dict[str, Any], mark: str) -> dict[str, Any]:
        if self._takes_keys:
            key = {"idempotency-key": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.prefix}/{mark}"))}
            try:
                return self.client.read(dict, "POST", path, json=document, headers=key)
            except FacilityRefusalError as error:
                if error.status != 501:
                    raise
                self._takes_keys = False  # no store of keys there
        return self.client.read(dict, "POST", path, json=document, is_repeatable=False)

    def find(self, attempt: Attempt) -> str | None:
        """Look for a job that an earlier, interrupted call launched, by its name."""
        for job in self._live(include_spec=True):
            if (job.get("job_spec") or {}).get("name") == name_of(attempt):
                return str(job["id"])
        return None

    def cancel(self, attempt: Attempt) -> None:
        """Cancel it. One that has ended or is unknown is left to `observe`."""
        native_id = native_id_of(attempt)
        if not native_id:
            return
        try:
            self.client.ask("DELETE", self._path("cancel", native_id))
        except FacilityRefusalError as error:
            if error.status not in {404, 409, 410}:
                raise

    def observe(self, attempts: Sequence[Attempt]) -> Mapping[str, Observation]:
        """Ask for all live jobs in one list, then for each missing one in the records."""
        known = {native: a for a in attempts if (native := native_id_of(a))}
        seen = {str(job["id"]): job for job in self._live(wanted=set(known))} if known else {}
        found: dict[str, Observation] = {}
        for native, attempt in known.items():
            job = seen.get(native) or self._record(native)
            if job is not None:
                found[attempt.job.jobid] = _explain(attempt, job.get("status") or {})
            elif not is_recent(attempt, self.settings.patience_seconds):
                found[attempt.job.jobid] = vanished(attempt, "the facility")
        return found

    def _live(
        self, *, wanted: set[str] | None = None, include_spec: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The jobs that the facility's scheduler holds now, page by page as long as needed."""
        offset, left = 0, set(wanted or ())
        while True:
            params: dict[str, Any] = {"offset": offset, "limit": PAGE}
            if include_spec:
                params["include_spec"] = "true"
            page = self.client.read(list, "POST", self._path("status"), params=params, json={})
            for job in page:
                left.discard(str(job["id"]))
                yield job
            offset += PAGE
            if len(page) < PAGE or (wanted and not left):
                return

    def _record(self, native_id: str) -> dict[str, Any] | None:
        try:
            path = self._path("status", native_id)
            return self.client.read(dict, "GET", path, params={"historical": "true"})
        except FacilityRefusalError as error:
            if error.status != 404:
                raise
            return None

    def _path(self, what: str, native_id: str = "") -> str:
        path = f"/api/v1/compute/{what}/{quote(self.settings.resource, safe='')}"
        return f"{path}/{quote(native_id, safe='')}" if native_id else path


def _explain(attempt: Attempt, status: Mapping[str, Any]) -> Observation:
    # A word that a later version adds is no end: the job is asked for again.
    state = STATES.get(str(status.get("state")), JobState.active)
    request, result = attempt.cancel_request, attempt.result
    if state is JobState.canceled:
        return Observation(state, reason_of(request) if request else "canceled at the facility")
    if state is JobState.failed and result is not None:
        # Nobody canceled it, so whoever ended it then was the scheduler at its limit.
        late = 0.9 * attempt.spec.resources.duration_seconds
        if result.get("asked_to_end") and float(result.get("wall_seconds", 0)) >= late:
            return Observation(state, "time limit reached")
        ended, info = conclude(result, None)
        # A script that ended well on a node that then failed has failed all the same.
        return Observation(state, info if ended is JobState.failed else _words(status))
    if state is JobState.failed:
        return Observation(state, f"{_words(status)}; its runner left no result, see log/console")
    if state is JobState.active:
        return Observation(state, native_id_of(attempt))
    return Observation(state, "exit code 0" if state is JobState.completed else _words(status))


def _words(status: Mapping[str, Any]) -> str:
    code = status.get("exit_code")
    said = str(status.get("message") or status.get("state"))
    return f"{said} (exit code {code})" if code else said
