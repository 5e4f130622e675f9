"""Who may submit where, as which project, how much, and whose jobs they see and cancel. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from pydantic import Field

from airflow_provider_lclstream.psik.models import JobSpec
from lclstreamer.core.errors import PermissionDeniedError
from lclstreamer.parameters.base import StrictModel

OWN = "own"
"""In ``sees`` and ``cancels``: the jobs that the caller submitted."""


class Rule(StrictModel):
    """What some people may do. Patterns are those of file names: ``uid:*``, ``lcls:*``."""

    who: list[str] = Field(min_length=1)
    """Patterns of callers: their owner name (``uid:alice@<authority's key>``) or principal."""
    backends: list[str] = ["*"]
    """Patterns of the backends they may submit to."""
    attributes: list[str] = ["*"]
    """Patterns of the attributes they may set, beyond what the backend itself allows."""
    callbacks: list[str] = ["*"]
    """Patterns of the URLs that may be told of their jobs' states. Scheme, host with port, and path
    are compared each by itself: in ``https://*.site.org/*`` the first ``*`` stands for no slash."""
    max_unfinished: int = Field(default=1000, ge=0, le=1_000_000)
    """How many of their jobs may be queued or active at once."""
    max_minutes: float = Field(default=366 * 1440, gt=0)
    """Longest run time of a job, in minutes."""
    max_nodes: int = Field(default=100_000, ge=1)
    """Most nodes of a job."""
    sees: list[str] = [OWN]
    """Whose jobs they see: ``own``, or patterns of owners."""
    cancels: list[str] = [OWN]
    """Whose jobs they change: ``own``, or patterns of owners."""


class Policy(StrictModel):
    """The rules of a service. The first whose ``who`` fits a caller applies; none means nothing."""

    rules: list[Rule] = [Rule(who=["*"])]

    def rule_of(self, names: Iterable[str]) -> Rule:
        """The rule for a caller, known by these names.

        Raises:
            PermissionDeniedError: none fits.
        """
        known = list(names)
        for rule in self.rules:
            if any(fits(name, rule.who) for name in known):
                return rule
        raise PermissionDeniedError(
            f"this service's policy has no rule for {known[0] if known else 'nameless callers'}",
            mend="ask the site to add a rule for you",
        )


def require_submit(rule: Rule, spec: JobSpec, unfinished: int) -> None:
    """Refuse a job that its caller may not submit.

    Raises:
        PermissionDeniedError: says which bound it exceeds.
    """
    if not fits(spec.backend, rule.backends):
        others = ", ".join(rule.backends)
        mend = (
            f"name another in the job's `backend`: {others}" if others else "ask the site for one"
        )
        raise _denied(f"you may not submit to backend {spec.backend!r}", mend)
    if spec.directory is not None:
        raise _denied(
            "the directory is chosen by this service", "leave `directory`, or --here, out"
        )
    for name in spec.attributes:
        if not fits(name, rule.attributes):
            raise _denied(f"you may not set the attribute {name!r}", "leave it out")
    if spec.callback is not None and not _may_be_told(spec.callback, rule.callbacks):
        raise _denied(f"callbacks to {spec.callback} are not allowed", "use an allowed callback")
    if spec.resources.duration > rule.max_minutes:
        raise _denied(f"jobs may run for at most {rule.max_minutes:g} minutes", "ask for less time")
    if (spec.resources.node_count or 1) > rule.max_nodes:
        raise _denied(f"jobs may use at most {rule.max_nodes} nodes", "ask for fewer nodes")
    if unfinished >= rule.max_unfinished:
        raise _denied(f"{unfinished} of your jobs have not ended", "wait for them, or cancel some")


def may_see(rule: Rule, caller: str, owner: str | None) -> bool:
    """Whether a caller may know of an owner's job."""
    return _covers(rule.sees, caller, owner) or may_change(rule, caller, owner)


def may_change(rule: Rule, caller: str, owner: str | None) -> bool:
    """Whether a caller may cancel, start or write into an owner's job."""
    return _covers(rule.cancels, caller, owner)


def _covers(patterns: list[str], caller: str, owner: str | None) -> bool:
    # A job without an owner was made on the service's own machine; only a pattern reaches it.
    if OWN in patterns and owner == caller:
        return True
    return fits(owner or "", [pattern for pattern in patterns if pattern != OWN])


def fits(name: str, patterns: list[str]) -> bool:
    """Whether one of the patterns fits a name."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


_URL = re.compile(r"([^:/?#]*)://([^/?#]*)(.*)", re.DOTALL)


def _may_be_told(url: str, patterns: list[str]) -> bool:
    return any(
        all(fnmatch.fnmatchcase(*each) for each in zip(_url_parts(url), _url_parts(p), strict=True))
        if _URL.fullmatch(p)
        else fnmatch.fnmatchcase(url, p)
        for p in patterns
    )


def _url_parts(url: str) -> tuple[str, str, str]:
    """Scheme, host with port, and the rest. Who logs in, ``user@``, says nothing of where."""
    found = _URL.fullmatch(url)
    scheme, authority, rest = found.groups() if found else ("", "", url)
    host = authority.rpartition("@")[2].lower()
    return scheme.lower(), host, rest or ("*" if host.endswith("*") else "/")


def _denied(problem: str, mend: str) -> PermissionDeniedError:
    return PermissionDeniedError(problem, mend=mend)
