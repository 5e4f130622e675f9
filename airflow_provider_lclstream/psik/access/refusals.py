"""From a refused request to an error that says whether a retry can help."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_lclstream.psik.job import JobNotFoundError
from airflow_provider_lclstream.psik.states import TransitionRefusedError
from lclstreamer.core.errors import (
    BadInputError,
    LCLStreamError,
    PermissionDeniedError,
    UnavailableError,
)

if TYPE_CHECKING:
    import httpx2

PROBLEM = "application/problem+json"
_KINDS: dict[int, type[LCLStreamError]] = {
    401: PermissionDeniedError,
    403: PermissionDeniedError,
    404: JobNotFoundError,
    409: TransitionRefusedError,
}
_MENDS: dict[type[LCLStreamError], str] = {
    PermissionDeniedError: "ask the service's operators for permission",
    JobNotFoundError: "`lclstream psik ls` lists the jobs that you may see there",
    UnavailableError: "try again; if it persists, ask the service's operators",
}
_TRANSIENT = frozenset({408, 425, 429})
MAX_TEXT = 500
"""How much of an answer in words that are not ours is passed on."""


def refusal(reply: httpx2.Response, where: str) -> LCLStreamError:
    """The error that a reply without success means.

    Args:
        reply: the reply, read to its end.
        where: the service.
    """
    status, body = reply.status_code, reply.content
    problem = _problem(body)
    kind = UnavailableError if may_pass(status) else _KINDS.get(status, BadInputError)
    is_ours = reply.headers.get("content-type", "").startswith(PROBLEM)
    if kind is JobNotFoundError and not is_ours:
        # Not one of our routes: nothing was said about any job.
        return BadInputError(
            f"the service answered {status}: it has no such route",
            where=where,
            mend="check that this is the URL of a Psik-API service, without /v4",
        )
    said = _words(problem.get("detail") or problem.get("title") or body.decode("utf-8", "replace"))
    mend = problem.get("mend") or _MENDS.get(kind, "fix the request")
    text = said if is_ours and said else f"the service answered {status}: {said}"
    return kind(text.rstrip(": "), where=where, mend=str(mend))


def may_pass(status: int) -> bool:
    """Whether the same request may succeed later, after this HTTP status."""
    return status >= 500 or status in _TRANSIENT


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _words(detail: Any) -> str:
    """A detail as one line; FastAPI gives a list of what it found wrong."""
    if isinstance(detail, list):
        return "; ".join(_one_fault(fault) for fault in detail)[:MAX_TEXT]
    return " ".join(str(detail).split())[:MAX_TEXT]


def _one_fault(fault: Any) -> str:
    if not isinstance(fault, dict):
        return str(fault)
    place = ".".join(str(part) for part in fault.get("loc", ())[1:])
    return f"{place}: {fault.get('msg', 'wrong')}" if place else str(fault.get("msg", "wrong"))


def unreachable(error: httpx2.HTTPError, where: str) -> LCLStreamError:
    """The error that a failed exchange means."""
    from airflow_provider_lclstream.certified.clients import explain
    from airflow_provider_lclstream.certified.contexts import Target

    return explain(error, Target(where, None))
