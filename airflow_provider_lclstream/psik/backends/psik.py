"""Jobs on another Psik-API service of ours, in its dialect /v4.

Files of the work folder go there before the job starts; the work folder and the logs come back when
it has ended, before its end is recorded. The remote job is made with an idempotency key, so that a
repeated submission finds it. Callbacks are this side's affair: the remote job has none.
"""

from __future__ import annotations

import functools
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_lclstream.psik.backends.base import Attempt, Observation, read_settings
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
    identity: str | None = None
    """The identity folder; by default this environment's."""
    max_results: int = Field(default=2**36, ge=1)
    """Largest results that are fetched, in bytes."""


class PsikBackend:
    """Hands jobs to another service and follows them there."""

    def __init__(self, name: str, config: BackendConfig, prefix: Path) -> None:
        self.name, self.prefix = name, prefix
        self.settings = read_settings(RemoteSettings, name, config.attributes)

    def check(self, spec: JobSpec) -> None:
        """Refuse a job that needs a directory of this machine."""
        if spec.directory is not None:
            raise BadInputError(
                "a remote job cannot run in a directory of this machine",
                mend="leave `directory` out; its files go into its work folder",
            )

    def submit(self, attempt: Attempt) -> str:
        """Make the job there, send its files, start it; returns its id there."""
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

    def find(self, attempt: Attempt) -> str | None:  # noqa: ARG002  (the interface's)
        """Nothing to look for: the idempotency key finds it when it is submitted again."""
        return None

    def cancel(self, attempt: Attempt) -> None:
        """Cancel it there."""
        if attempt.native_id is not None:
            self._ask("DELETE", f"/v4/jobs/{attempt.native_id}")

    def observe(self, attempts: Sequence[Attempt]) -> Mapping[str, Observation]:
        """Ask for all of them in one list; fetch the results of those that have ended."""
        wanted = {a.native_id: a for a in attempts if a.native_id is not None}
        found: dict[str, Observation] = {}
        for line in self._lines(set(wanted)):
            attempt = wanted.pop(line["jobid"])
            seen = self._explain(attempt, line)
            if seen is not None:
                found[attempt.job.jobid] = seen
        for attempt in wanted.values():
            found[attempt.job.jobid] = _gone(attempt)
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
    _write_below(attempt.job.work if top == "work" else attempt.job.logs, rest, tar, member)


def _write_below(folder: Path, name: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Like extraction with the filter ``data``, which Python 3.11 has from 3.11.4 on only."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BadInputError(
            f"the service sent a file that would lie outside of the job: {member.name!r}",
            mend="do not use that service; it or somebody in between is not what it should be",
        )
    content = tar.extractfile(member)
    if content is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as stream:
        shutil.copyfileobj(content, stream)
    path.chmod(member.mode & 0o755 | 0o600)


def _gone(attempt: Attempt) -> Observation:
    request = attempt.cancel_request
    if request is not None:
        return Observation(JobState.canceled, reason_of(request))
    return Observation(JobState.failed, f"the service no longer knows job {attempt.native_id}")


def _refusal(status: int, text: str, url: str) -> LCLStreamError:
    try:
        detail = str(json.loads(text).get("detail", text))
    except (ValueError, AttributeError):
        detail = text
    said = f"the service answered {status}: {' '.join(detail.split())[:500]}"
    if status >= 500 or status in {408, 425, 429}:
        return UnavailableError(said, where=url, mend="it is asked again")
    return BadInputError(said, where=url, mend="mend the job, or ask the service's site")
