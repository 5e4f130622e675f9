"""Jobs on another Psik-API service: ours in /v4, upstream's in /v3 or /v2 (see `psik_upstream`).

Files of the work folder go there before the job starts; the work folder and the logs come back when
it has ended, before its end is recorded. The remote job is made with an idempotency key, so that a
repeated submission finds it. Callbacks are sent from here: the remote job has none.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_lclstream.psik.access.places import ServicePlace, service_place
from airflow_provider_lclstream.psik.access.question import Question
from airflow_provider_lclstream.psik.access.refusals import may_pass
from airflow_provider_lclstream.psik.backends.base import Attempt, Observation, read_settings
from airflow_provider_lclstream.psik.backends.facility import (
    FacilityRefusalError,
    FacilityTroubleError,
)
from airflow_provider_lclstream.psik.backends.psik_ours import OurJobs
from airflow_provider_lclstream.psik.backends.psik_settings import RemoteSettings
from airflow_provider_lclstream.psik.backends.psik_upstream import UpstreamJobs
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from lclstreamer.core.errors import BadInputError, LCLStreamError

if TYPE_CHECKING:
    import httpx2

    from airflow_provider_lclstream.psik.access.service import ServiceAccess

PIECE_BYTES = 2**18


class PsikBackend:
    """Hands jobs to another service and follows them there."""

    def __init__(self, name: str, config: BackendConfig, prefix: Path) -> None:
        self.name, self.prefix = name, prefix
        self.settings = read_settings(RemoteSettings, name, config.attributes)
        if self.settings.remote_url.startswith("http://"):
            service_place(self.settings.remote_url)  # refused here, not once there are jobs
        self._spoken: dict[str, UpstreamJobs] = {}
        self._found_dialect: str | None = None

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
        return self._ours.submit(attempt)

    def find(self, attempt: Attempt) -> str | None:
        """Look for it by its name; in v4 by its idempotency key."""
        if (dialect := self._dialect) == "v4":
            return self._ours.find(attempt)
        found = self._upstream(dialect).find(attempt)
        return found and f"{dialect}/{found}"

    def cancel(self, attempt: Attempt) -> None:
        """Cancel it there."""
        dialect, _, jobid = (attempt.native_id or "").rpartition("/")
        if dialect:
            self._upstream(dialect).cancel(jobid)
        elif jobid:
            self._ours.cancel(jobid)

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
        if wanted:
            found |= self._ours.observe(wanted)
        return found

    @property
    def _dialect(self) -> str:
        """The best dialect that both sides speak; asked for until it is known."""
        if self.settings.dialect != "auto":
            return self.settings.dialect
        if self._found_dialect is None:
            # Python 3.11's cached_property has one lock for all backends: whoever asked a service
            # that hangs would keep the others from asking theirs.
            self._found_dialect = self._find_dialect()
        return self._found_dialect

    def _find_dialect(self) -> str:
        for dialect in ("v4", "v3", "v2"):
            with contextlib.suppress(BadInputError):
                self._ask("GET", f"/{dialect}/backends")
                return dialect
        raise BadInputError(
            "the service offers this client none of the dialects v4, v3 and v2",
            where=self.settings.remote_url,
            mend="check that `remote_url` is its root, and that its policy admits this identity",
        )

    def _upstream(self, dialect: str) -> UpstreamJobs:
        return self._spoken.setdefault(
            dialect, UpstreamJobs(dialect, self.settings, self.prefix, self._ask, self._stream)
        )

    @functools.cached_property
    def _ours(self) -> OurJobs:
        return OurJobs(self.settings, self.prefix, self._open)

    @functools.cached_property
    def _place(self) -> ServicePlace:
        """Where the service is and what to trust; read once."""
        return service_place(self.settings.remote_url, self.settings.identity)

    def _open(self) -> ServiceAccess:
        # One for each task: backends are never closed, so nothing may stay open in them.
        from airflow_provider_lclstream.psik.access.service import open_place

        return open_place(self._place)

    def _ask(self, method: str, path: str, **content: Any) -> httpx2.Response:
        with self._open() as service:
            return service.ask(_question(method, path, **content))

    def _stream(self, path: str) -> Iterator[bytes]:
        with self._open() as service, service.stream(_question("GET", path)) as reply:
            yield from reply.iter_bytes(PIECE_BYTES)


def _question(method: str, path: str, **content: Any) -> Question[httpx2.Response]:
    """A question in another dialect, whose asker is patient himself."""
    return Question(
        method, path, lambda reply: reply, refuse=_refusal, is_repeatable=False, **content
    )


def _refusal(reply: httpx2.Response, url: str) -> LCLStreamError:
    status, text = reply.status_code, reply.text
    try:
        detail = str(json.loads(text).get("detail", text))
    except (ValueError, AttributeError):
        detail = text
    said = f"the service answered {status}: {' '.join(detail.split())[:500]}"
    if may_pass(status):
        return FacilityTroubleError(
            said, where=url, mend="it is retried automatically", status=status
        )
    mend = "fix the job, or ask the service's operators"
    return FacilityRefusalError(said, where=url, mend=mend, status=status)
