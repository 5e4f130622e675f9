"""Jobs on another Psik-API service: ours in /v4, upstream's in /v3 or /v2 (see `psik_upstream`).

Files of the work folder go there before the job starts; the work folder and the logs come back when
it has ended, before its end is recorded. The remote job is made with an idempotency key, so that a
repeated submission finds it. Callbacks are this side's affair: the remote job has none.
"""

from __future__ import annotations

import contextlib
import functools
import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_lclstream.psik.backends.base import Attempt, Observation, read_settings
from airflow_provider_lclstream.psik.backends.facility import (
    FacilityRefusalError,
    FacilityTroubleError,
)
from airflow_provider_lclstream.psik.backends.psik_carrier import BEAT_SECONDS
from airflow_provider_lclstream.psik.backends.psik_signs import gone
from airflow_provider_lclstream.psik.backends.psik_upstream import UpstreamJobs
from airflow_provider_lclstream.psik.backends.results import write_below
from airflow_provider_lclstream.psik.layout import PRIVATE, write_json
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, JobState
from airflow_provider_lclstream.psik.runner import reason_of
from lclstreamer.core.errors import BadInputError, LCLStreamError, UnavailableError

if TYPE_CHECKING:
    import ssl

    import httpx2

TIMEOUT_SECONDS = 60.0
PIECE_BYTES = 2**18
_IDS_PER_PAGE = 1000


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


class PsikBackend:
    """Hands jobs to another service and follows them there."""

    def __init__(self, name: str, config: BackendConfig, prefix: Path) -> None:
        self.name, self.prefix = name, prefix
        self.settings = read_settings(RemoteSettings, name, config.attributes)
        self._spoken: dict[str, UpstreamJobs] = {}

    def check(self, spec: JobSpec) -> None:
        """Refuse a job that needs a directory of this machine."""
        if spec.directory is not None:
            raise BadInputError(
                "a remote job cannot run in a directory of this machine",
                mend="leave `directory` out; its files go into its work folder",
            )

    def submit(self, attempt: Attempt) -> str:
        """Make the job there, send its files, start it; returns its id there.

        An id of upstream's dialects is preceded by the dialect: ``v2/1795207134.516``.
        """
        if (dialect := self._dialect) != "v4":
            return f"{dialect}/{self._upstream(dialect).submit(attempt)}"
        spec = attempt.spec.model_dump(mode="json", exclude={"cb_secret", "callback", "cb_headers"})
        spec["backend"] = self.settings.remote_backend
        spec["attributes"] = json.loads(self.settings.next)
        made = self._ask(
            "POST",
            "/v4/jobs",
            params={"submit": "false"},
            json=spec,
            headers={"idempotency-key": f"{attempt.job.jobid}.{attempt.jobndx}"},
        ).json()
        jobid = str(made["jobid"])
        if made["state"] == JobState.new:
            for path in _files_of(attempt.job.work):
                name = path.relative_to(attempt.job.work).as_posix()
                with path.open("rb") as stream:
                    self._ask("POST", f"/v4/jobs/{jobid}/files", files={"files": (name, stream)})
            self._ask("POST", f"/v4/jobs/{jobid}/start")
        return jobid

    def find(self, attempt: Attempt) -> str | None:
        """Look for it by its name; in v4 its idempotency key finds it on the next submission."""
        if (dialect := self._dialect) == "v4":
            return None
        found = self._upstream(dialect).find(attempt)
        return found and f"{dialect}/{found}"

    def cancel(self, attempt: Attempt) -> None:
        """Cancel it there."""
        dialect, _, jobid = (attempt.native_id or "").rpartition("/")
        if dialect:
            self._upstream(dialect).cancel(jobid)
        elif jobid:
            self._ask("DELETE", f"/v4/jobs/{jobid}")

    def observe(self, attempts: Sequence[Attempt]) -> Mapping[str, Observation]:
        """Ask for all of them in one list; fetch the results of those that have ended."""
        groups: dict[str, dict[str, Attempt]] = {"": {}}
        for attempt in attempts:
            dialect, _, jobid = (attempt.native_id or "").rpartition("/")
            if jobid:
                groups.setdefault(dialect, {})[jobid] = attempt
        wanted, found = groups.pop(""), dict[str, Observation]()
        for dialect, theirs in groups.items():
            found |= self._upstream(dialect).observe(theirs)
        for line in self._lines(set(wanted)):
            attempt = wanted.pop(line["jobid"])
            seen = self._explain(attempt, line)
            if seen is not None:
                found[attempt.job.jobid] = seen
        for attempt in wanted.values():
            found[attempt.job.jobid] = gone(attempt)
        return found

    def _lines(self, wanted: set[str]) -> Iterator[dict[str, Any]]:
        """The lines of the wanted jobs; pages are turned only as long as some are missing."""
        before: str | None = None
        left = set(wanted)
        while left:
            params: dict[str, Any] = {"limit": _IDS_PER_PAGE}
            if before is not None:
                params["before"] = before
            page = self._ask("GET", "/v4/jobs", params=params).json()
            for line in page["jobs"]:
                if line["jobid"] in left:
                    left.discard(line["jobid"])
                    yield line
            before = page["next"]
            if before is None:
                return

    def _explain(self, attempt: Attempt, line: dict[str, Any]) -> Observation | None:
        state = JobState(line["state"])
        if state is JobState.new:
            self._ask("POST", f"/v4/jobs/{line['jobid']}/start")
            return None
        if not state.is_final:
            info = line["info"] if state is JobState.active else "waiting there"
            return Observation(state, info)
        job = self._ask("GET", f"/v4/jobs/{line['jobid']}").json()
        has_run = any(row["state"] == JobState.active for row in job["history"])
        self._fetch(attempt, line["jobid"])
        if job["result"] is not None:
            write_json(attempt.job.result(attempt.jobndx), job["result"], sync=False)
        request = attempt.cancel_request
        if state is JobState.canceled and request is not None:
            return Observation(state, reason_of(request), has_run=has_run)
        return Observation(state, line["info"], has_run=has_run)

    def _fetch(self, attempt: Attempt, remote_id: str) -> None:
        """Bring the work folder and the logs here, whole or not at all."""
        with tempfile.TemporaryDirectory(dir=self.prefix / PRIVATE) as folder:
            bundle, received = Path(folder) / "results.tar", 0
            with bundle.open("wb") as stream:
                for piece in self._stream(f"/v4/jobs/{remote_id}/results.tar"):
                    received += len(piece)
                    if received > self.settings.max_results:
                        raise BadInputError(
                            f"the results of job {remote_id} are too long",
                            mend="raise `max_results` of the backend",
                        )
                    stream.write(piece)
            with tarfile.open(bundle) as tar:
                for member in tar:
                    _unpack(tar, member, attempt)

    @functools.cached_property
    def _dialect(self) -> str:
        """The best dialect that both sides speak; asked once."""
        if self.settings.dialect != "auto":
            return self.settings.dialect
        for dialect in ("v4", "v3", "v2"):
            with contextlib.suppress(BadInputError):
                self._ask("GET", f"/{dialect}/backends")
                return dialect
        raise BadInputError(
            "the service speaks none of the dialects v4, v3 and v2 with us",
            where=self.settings.remote_url,
            mend="look whether `remote_url` is its root, and whether its policy lets us in",
        )

    def _upstream(self, dialect: str) -> UpstreamJobs:
        return self._spoken.setdefault(
            dialect, UpstreamJobs(dialect, self.settings, self.prefix, self._ask, self._stream)
        )

    @functools.cached_property
    def _place(self) -> tuple[str, ssl.SSLContext | bool]:
        """The service's URL and what to trust; read once."""
        url = self.settings.remote_url
        if url.startswith("http://"):
            return url, False
        from airflow_provider_lclstream.certified.contexts import client_ssl_context, resolve
        from airflow_provider_lclstream.certified.folder import IdentityFolder

        folder = IdentityFolder(self.settings.identity).require()
        target = resolve(folder, url)
        return target.url, client_ssl_context(folder, target.service)

    def _open_client(self) -> httpx2.Client:
        # One for each question: backends are never closed, so nothing may stay open in them.
        import httpx2

        url, verify = self._place
        return httpx2.Client(base_url=url, verify=verify, timeout=TIMEOUT_SECONDS, trust_env=False)

    def _ask(self, method: str, path: str, **content: Any) -> httpx2.Response:
        import httpx2

        try:
            with self._open_client() as client:
                answer = client.request(method, path, **content)
        except httpx2.HTTPError as error:
            raise self._away(error) from error
        if answer.is_success:
            return answer
        raise _refusal(answer.status_code, answer.text, self.settings.remote_url)

    def _stream(self, path: str) -> Iterator[bytes]:
        import httpx2

        try:
            with self._open_client() as client, client.stream("GET", path) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer.status_code, answer.text, self.settings.remote_url)
                yield from answer.iter_bytes(PIECE_BYTES)
        except httpx2.HTTPError as error:
            raise self._away(error) from error

    def _away(self, error: Exception) -> UnavailableError:
        return UnavailableError(
            f"the service cannot be reached: {error}",
            where=self.settings.remote_url,
            mend="it is asked again",
        )


def _files_of(work: Path) -> list[Path]:
    return sorted(p for p in work.rglob("*") if p.is_file() and not p.is_symlink())


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, attempt: Attempt) -> None:
    top, _, rest = member.name.partition("/")
    if not member.isreg() or not rest or top not in {"work", "log"}:
        return
    if top == "log":
        # Its attempts there are numbered from 1; the remote console stands beside ours.
        stem, _, _ = rest.partition(".")
        rest = f"{stem}.{attempt.jobndx}" if stem in {"stdout", "stderr"} else f"remote-{rest}"
    write_below(attempt.job.work if top == "work" else attempt.job.logs, rest, tar, member)


def _refusal(status: int, text: str, url: str) -> LCLStreamError:
    try:
        detail = str(json.loads(text).get("detail", text))
    except (ValueError, AttributeError):
        detail = text
    said = f"the service answered {status}: {' '.join(detail.split())[:500]}"
    if status >= 500 or status in {408, 425, 429}:
        return FacilityTroubleError(said, where=url, mend="it is asked again", status=status)
    mend = "mend the job, or ask the service's site"
    return FacilityRefusalError(said, where=url, mend=mend, status=status)
