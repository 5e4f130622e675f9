"""Jobs on a service that speaks upstream's dialects /v2 or /v3 only.

Its word on where a job is counts as a hint. The truth is what the job's carrier leaves in the work
folder there: it says that it lives, and how the script ended. Jobs are found again by their names.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_lclstream.psik.backends.base import Attempt, Observation
from airflow_provider_lclstream.psik.backends.facility import (
    FacilityRefusalError,
    FacilityTroubleError,
)
from airflow_provider_lclstream.psik.backends.psik_carrier import (
    ALIVE,
    BEAT_SECONDS,
    CANCEL,
    FOLDER,
    INPUT,
    RESULT,
    RESULTS,
    carrier,
    pack,
    place_of,
)
from airflow_provider_lclstream.psik.backends.psik_signs import (
    Signs,
    gone,
    is_late,
    lost,
    never_began,
)
from airflow_provider_lclstream.psik.backends.results import (
    ResultsRefusedError,
    received,
    write_below,
)
from airflow_provider_lclstream.psik.backends.scheduled import mark_of
from airflow_provider_lclstream.psik.endings import conclude
from airflow_provider_lclstream.psik.layout import PRIVATE, write_json
from airflow_provider_lclstream.psik.models import JobState
from lclstreamer.core.errors import LCLStreamError

if TYPE_CHECKING:
    import httpx2

    from airflow_provider_lclstream.psik.backends.psik_settings import RemoteSettings

LOOK_SECONDS = {JobState.queued: 20.0, JobState.active: 10.0}
"""How often the folder of a job is looked at that the service says to be in this state: upstream
loses rows of its state logs now and then."""
ENDED_PATIENCE_SECONDS = 2.5 * BEAT_SECONDS
"""How long a carrier may be silent when the service, too, says that it has ended."""
PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4)
_IDS_PER_PAGE = 1000
_JOB_KEYS = {"script", "inherit_environment"}


class UpstreamJobs:
    """Hands attempts to such a service and follows them there.

    Args:
        dialect: ``v2`` or ``v3``.
        settings: the backend's.
        prefix: the folder of job folders here.
        ask: sends a request; raises where the answer is no success.
        stream: gives the pieces of an answer.
    """

    def __init__(
        self,
        dialect: str,
        settings: RemoteSettings,
        prefix: Path,
        ask: Callable[..., httpx2.Response],
        stream: Callable[[str], Iterator[bytes]],
    ) -> None:
        self._base, self._settings, self._prefix = f"/{dialect}/jobs", settings, prefix
        self._send, self._stream = ask, stream
        self._looked: dict[str, float] = {}

    def submit(self, attempt: Attempt) -> str:
        """Make the job there, send its files, start it; returns its id there."""
        spec = attempt.spec.model_dump(mode="json", include=_JOB_KEYS)
        resources = attempt.spec.resources
        spec |= {
            "name": _name_of(attempt),
            "script": carrier(attempt.spec, self._settings.grace_seconds),
            "resources": {
                **resources.model_dump(mode="json", exclude_none=True),
                "duration": math.ceil(resources.duration),
            },
            "backend": self._settings.remote_backend,
            "attributes": json.loads(self._settings.next),
        }
        jobid = str(self._ask("POST", "", params={"submit": "false"}, json=spec).json())
        self._start(attempt, jobid)
        return jobid

    def find(self, attempt: Attempt) -> str | None:
        """Look for a job that an earlier, interrupted call made; see that it is started."""
        name = _name_of(attempt)
        for line in self._lines():
            if line["name"] == name:
                if line["state"] == JobState.new and attempt.cancel_request is None:
                    # Started twice, it still runs once: its carrier sees to that.
                    self._start(attempt, line["jobid"])
                return line["jobid"]
        return None

    def cancel(self, jobid: str) -> None:
        """Ask its carrier to end it, then the service, which may end less than all of it."""
        self._put(jobid, CANCEL)
        self._ask("DELETE", f"/{jobid}")

    def observe(self, theirs: Mapping[str, Attempt]) -> dict[str, Observation]:
        """What is known of these, given by their ids there; the answer is by their ids here."""
        wanted, found = dict(theirs), dict[str, Observation]()
        for line in self._lines():
            attempt = wanted.pop(line["jobid"], None)
            if attempt is not None:
                seen = self._look_at(attempt, line)
                if seen is not None:
                    found[attempt.job.jobid] = seen
            if not wanted:
                return found
        for jobid, attempt in wanted.items():
            # Upstream leaves out of its list what it cannot read at that moment.
            if self._is_gone(jobid):
                found[attempt.job.jobid] = gone(attempt)
        return found

    def _is_gone(self, jobid: str) -> bool:
        try:
            self._ask("GET", f"/{jobid}")
        except FacilityRefusalError as error:
            return error.status == 404
        except FacilityTroubleError:
            pass
        return False

    def _look_at(self, attempt: Attempt, line: Mapping[str, Any]) -> Observation | None:
        """What is known of one; that it cannot be found out now does not hold up the others."""
        try:
            return self._explain(attempt, line)
        except LCLStreamError as error:
            if error.transient:
                return None
            return Observation(JobState.failed, f"lost track of it: {error.problem}")

    def _explain(self, attempt: Attempt, line: Mapping[str, Any]) -> Observation | None:
        jobid, state = line["jobid"], JobState(line["state"])
        patience = self._settings.patience_seconds
        if state is JobState.new and not is_late(attempt, patience):
            return None
        if not self._is_due(attempt, jobid, state):
            return None
        if state in {JobState.canceled, JobState.new}:
            self._put(jobid, CANCEL)  # before the look: a carrier that begins now sees it
        signs = self._look(jobid)
        if signs is None:
            return never_began(attempt, line, patience)
        if signs.has_result:
            return self._conclude(attempt, jobid)
        if state.is_final:
            patience = min(patience, ENDED_PATIENCE_SECONDS)
        if signs.silent_seconds < patience:
            return Observation(JobState.active, f"{jobid} there")
        with contextlib.suppress(LCLStreamError):
            self.cancel(jobid)  # should it live after all
        return lost(attempt, signs.silent_seconds, line)

    def _conclude(self, attempt: Attempt, jobid: str) -> Observation:
        result = self._ask("GET", f"/{jobid}/files/{FOLDER}/{RESULT}").json()
        if not result["problem"]:
            try:
                self._fetch(attempt, jobid)
            except ResultsRefusedError as error:
                return error.as_end("done")
        write_json(attempt.job.result(attempt.jobndx), result, sync=False)
        self._looked.pop(jobid, None)
        return Observation(*conclude(result, attempt.cancel_request), has_run=True)

    def _is_due(self, attempt: Attempt, jobid: str, state: JobState) -> bool:
        """Whether to look into the folder of a job now, which costs two requests."""
        is_news = state not in {attempt.last.state, JobState.queued}
        if is_news or state not in LOOK_SECONDS:
            return True
        now = time.monotonic()
        if now - self._looked.setdefault(jobid, now) < LOOK_SECONDS[state]:
            return False
        self._looked[jobid] = now
        return True

    def _look(self, jobid: str) -> Signs | None:
        """What the carrier has left so far; None before it began."""
        folder = self._ask("GET", f"/{jobid}/files").json().get(FOLDER)
        if folder is None:
            return None
        answer = self._ask("GET", f"/{jobid}/files/{FOLDER}")
        files, now = answer.json(), time.time()
        with contextlib.suppress(KeyError, ValueError):
            now = parsedate_to_datetime(answer.headers["date"]).timestamp()  # its clock, not ours
        seen = files.get(ALIVE, folder)["mtime"]
        return Signs(RESULT in files, now - float(seen))

    def _fetch(self, attempt: Attempt, jobid: str) -> None:
        """Bring the work folder and the logs here."""
        pieces = self._stream(f"{self._base}/{jobid}/files/{FOLDER}/{RESULTS}")
        with received(pieces, self._prefix / PRIVATE, self._settings.max_results) as tar:
            for member in tar:
                place = place_of(member.name, attempt.jobndx) if member.isreg() else None
                if place is not None:
                    root = attempt.job.logs if place[0] == "log" else attempt.job.work
                    write_below(root, place[1], tar, member)

    def _start(self, attempt: Attempt, jobid: str) -> None:
        with tempfile.TemporaryDirectory(dir=self._prefix / PRIVATE) as folder:
            path = Path(folder) / INPUT
            pack(attempt.spec, attempt.job.work, path)
            self._put(jobid, INPUT, path)
        self._ask("POST", f"/{jobid}/start")

    def _put(self, jobid: str, name: str, path: Path | None = None) -> None:
        """Send a file; an empty one where no path is given."""

        def send() -> httpx2.Response:
            with path.open("rb") if path else io.BytesIO() as stream:
                target = f"{self._base}/{jobid}/files"
                return self._send("POST", target, files={"files": (name, stream)})

        _patiently(send, is_repeatable=True)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """All jobs there, newest first; further pages are fetched on demand."""
        index = 0
        while True:
            params = {"index": index, "limit": _IDS_PER_PAGE}
            page = self._ask("GET", "", params=params).json()
            yield from page
            index += len(page)
            if len(page) < _IDS_PER_PAGE:
                return

    def _ask(self, method: str, path: str, **content: Any) -> httpx2.Response:
        return _patiently(
            lambda: self._send(method, self._base + path, **content),
            is_repeatable=method != "POST",
        )


def _patiently(send: Callable[[], httpx2.Response], *, is_repeatable: bool) -> httpx2.Response:
    """Send; a few times where the answer is one that upstream gives at random.

    That is 403 before anything is done, and 500 where one of its locks is held.
    """
    for pause in PAUSES_SECONDS:
        try:
            return send()
        except (FacilityRefusalError, FacilityTroubleError) as error:
            if error.status != 403 and not (error.status == 500 and is_repeatable):
                raise
            time.sleep(pause)
    return send()


def _name_of(attempt: Attempt) -> str:
    return f"{(attempt.spec.name or '')[:100]} {mark_of(attempt)}".strip()
