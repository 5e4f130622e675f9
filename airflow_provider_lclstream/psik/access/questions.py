"""The requests to a Psik-API service in its dialect /v4, each described once.

`service` and `service_async` send them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter

from airflow_provider_lclstream.psik.access.question import TIMEOUT_SECONDS, Question
from airflow_provider_lclstream.psik.facts import BackendFacts, FileFacts, JobFacts, JobLine
from airflow_provider_lclstream.psik.job import JobNotFoundError
from airflow_provider_lclstream.psik.layout import is_jobid
from airflow_provider_lclstream.psik.models import JobSpec
from airflow_provider_lclstream.psik.states import JobState

if TYPE_CHECKING:
    import httpx2

ROUND_SECONDS = 30.0
"""The longest wait that is asked for at once."""
PAGE_LINES = 1000
PIECE_BYTES = 2**24
"""The longest piece of a log that a service gives at once."""
MAX_KEY = 200
_SIZES = TypeAdapter(dict[str, int])


def _nothing(_: httpx2.Response) -> None:
    return None


class Page(BaseModel):
    """One page of a list."""

    jobs: list[JobLine]
    next: str | None


def create(spec: JobSpec, key: str, *, submit: bool) -> Question[JobFacts]:
    """Make a job; the same key gives the same job."""
    return Question(
        "POST",
        "/v4/jobs",
        _facts,
        params={} if submit else {"submit": "false"},
        json=document_of(spec),
        headers={"idempotency-key": _header(key)},
    )


def check(spec: JobSpec) -> Question[None]:
    """Check whether this job would be accepted."""
    return Question("POST", "/v4/jobs/check", _nothing, json=document_of(spec))


def upload(jobid: str, files: Mapping[str, bytes | IO[bytes]]) -> Question[None]:
    """Put files into a job's work folder."""
    # A form's file name would lose its folders and odd characters, so it travels encoded.
    parts = [
        ("files", (quote(name, errors="surrogateescape"), content))
        for name, content in files.items()
    ]
    path = f"{_job(jobid)}/files"
    return Question("POST", path, _nothing, files=parts, is_repeatable=False)


def start(jobid: str) -> Question[JobFacts]:
    """Queue an attempt."""
    return Question("POST", f"{_job(jobid)}/start", _facts, is_repeatable=False)


def look(jobid: str, after: int, wait_seconds: float, file: str | None) -> Question[JobFacts]:
    """Look at a job, waiting for news of it as long as can be asked for at once."""
    wait = min(max(wait_seconds, 0.0), ROUND_SECONDS)
    params: dict[str, Any] = {"after": after, "wait": wait}
    if file is not None:
        params["file"] = file
    return Question(
        "GET", _job(jobid), _facts, params=params, timeout_seconds=TIMEOUT_SECONDS + wait
    )


def spec_of(jobid: str) -> Question[JobSpec]:
    """A job's specification."""
    path = f"{_job(jobid)}/spec"
    return Question("GET", path, lambda reply: JobSpec.model_validate_json(reply.content))


def page(states: Iterable[JobState], limit: int, before: str | None) -> Question[Page]:
    """One page of the list of jobs."""
    params: dict[str, Any] = {"limit": limit, "state": sorted(states)}
    if before is not None:
        params["before"] = before
    return Question(
        "GET", "/v4/jobs", lambda reply: Page.model_validate_json(reply.content), params=params
    )


def cancel(jobid: str, reason: str) -> Question[JobFacts]:
    """End a job; the service says who did it, and the reason if it is more than that."""
    params = {} if reason == "canceled" else {"reason": reason[:500]}
    return Question("DELETE", _job(jobid), _facts, params=params)


def remove(jobid: str) -> Question[None]:
    """Delete a job that has ended."""
    return Question("DELETE", f"{_job(jobid)}/folder", _nothing, is_repeatable=False)


def log_sizes(jobid: str) -> Question[dict[str, int]]:
    """A job's logs and their lengths in bytes."""
    path = f"{_job(jobid)}/logs"
    return Question("GET", path, lambda reply: _SIZES.validate_json(reply.content))


def read_log(jobid: str, name: str, offset: int, limit_bytes: int) -> Question[bytes]:
    """A piece of a log; a negative offset counts from its end."""
    limit = min(limit_bytes, PIECE_BYTES)
    begin = {"tail": -offset} if offset < 0 else {"offset": offset}
    return Question(
        "GET",
        f"{_job(jobid)}/logs/{_name(name, jobid)}",
        lambda reply: reply.content[:limit],
        params={**begin, "limit": limit},
    )


def files(jobid: str) -> Question[list[FileFacts]]:
    """The files in a job's work folder."""
    return Question(
        "GET", f"{_job(jobid)}/files", lambda reply: sorted_files(_flat(reply.json(), ""))
    )


def file_content(jobid: str, path: str) -> Question[None]:
    """A file of a job's work folder; its answer is a stream."""
    below = "/".join(_name(part, jobid) for part in path.split("/"))
    return Question("GET", f"{_job(jobid)}/files/{below}", _nothing)


def results(jobid: str) -> Question[None]:
    """The work folder and the logs as one tar; its answer is a stream."""
    return Question("GET", f"{_job(jobid)}/results.tar", _nothing)


def backends() -> Question[list[BackendFacts]]:
    """The backends that may be submitted to."""

    def read(reply: httpx2.Response) -> list[BackendFacts]:
        found = sorted(reply.json().items())
        return [BackendFacts.model_validate({"name": name, **facts}) for name, facts in found]

    return Question("GET", "/v4/backends", read)


def document_of(spec: JobSpec) -> dict[str, Any]:
    """A specification as it is sent: what is left to the defaults is left to the service's."""
    document = spec.model_dump(mode="json", exclude_defaults=True, exclude={"cb_secret"})
    if spec.cb_secret is not None:
        document["cb_secret"] = spec.cb_secret.get_secret_value()
    return document


def sorted_files(found: Iterable[FileFacts]) -> list[FileFacts]:
    """Files in the order of their paths."""
    return sorted(found, key=lambda facts: facts.path)


def _facts(reply: httpx2.Response) -> JobFacts:
    return JobFacts.model_validate_json(reply.content)


def _job(jobid: str) -> str:
    if not is_jobid(jobid):
        raise JobNotFoundError(f"there is no job {jobid!r}", mend="`lclstream psik ls` lists them")
    return f"/v4/jobs/{jobid}"


def _name(name: str, jobid: str) -> str:
    """A part of a path; one that clients would leave out of it is the name of nothing."""
    if name in {"", ".", ".."} or "/" in name:
        raise JobNotFoundError(
            f"job {jobid} has no file or log {name!r}",
            mend="`lclstream psik files` and `status --json` list them",
        )
    return quote(name, safe="")


def _header(key: str) -> str:
    """A key as a header can carry it."""
    if len(key) <= MAX_KEY and key.isascii() and key.isprintable() and key == key.strip():
        return key
    return hashlib.sha256(key.encode()).hexdigest()


def _flat(listing: Mapping[str, Any], above: str) -> Iterator[FileFacts]:
    for name, facts in listing.items():
        children = facts["children"]
        if isinstance(children, dict):
            yield from _flat(children, f"{above}{name}/")
        else:
            yield FileFacts(path=f"{above}{name}", size=facts["size"], mtime=facts["mtime"])
