"""What a job leaves behind: JSON files of bounded size, and the ends of its logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from airflow_provider_lclstream.psik.job import JobNotFoundError
from lclstreamer.core.errors import BadInputError
from lclstreamer.core.units import format_bytes

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.access.base import JobAccess
    from airflow_provider_lclstream.psik.facts import JobFacts

JSON_LIMIT_BYTES = 1_000_000
_MAGIC = frozenset("*?[")


def read_json(access: JobAccess, jobid: str, name: str) -> Any:
    """The content of a JSON file in a job's working directory.

    Raises:
        BadInputError: it is absent, too long or not JSON.
    """
    return _parsed(_content(access, jobid, name), jobid, name)


def result_files(
    access: JobAccess, jobid: str, patterns: Sequence[str], limit_bytes: int
) -> dict[str, Any]:
    """The JSON files in a job's working directory that fit glob patterns, by name.

    A pattern without wildcards that fits nothing is passed over like any other.

    Raises:
        BadInputError: together they hold more than ``limit_bytes``.
    """
    found: dict[str, Any] = {}
    left = limit_bytes
    for name in _names(access, jobid, patterns):
        try:
            content = _content(access, jobid, name)
        except JobNotFoundError:
            continue
        left -= len(content)
        if left < 0:
            raise BadInputError(
                f"the result files hold more than {format_bytes(limit_bytes)}",
                where=f"job {jobid}",
                mend="return less, or raise result_limit_bytes; Airflow's database keeps it all",
            )
        found[name] = _parsed(content, jobid, name)
    return found


def log_tails(
    access: JobAccess, facts: JobFacts, limit_bytes: int = 4096
) -> Iterator[tuple[str, str]]:
    """The end of each of a job's logs that holds anything, as name and text."""
    for name in facts.logs:
        try:
            end = access.read_log(facts.jobid, name, -limit_bytes, limit_bytes)
        except JobNotFoundError:
            continue
        if text := end.decode("utf-8", "replace").strip():
            yield name, text


def _names(access: JobAccess, jobid: str, patterns: Sequence[str]) -> list[str]:
    # A name that is known is asked for as it is: a list of very many files may be cut.
    plain = {pattern for pattern in patterns if not _MAGIC & set(pattern)}
    globs = [pattern.split("/") for pattern in patterns if pattern not in plain]
    if not globs:
        return sorted(plain)
    there = [facts.path for facts in access.files(jobid)]
    return sorted(
        plain | {path for path in there if any(_fits(path.split("/"), glob) for glob in globs)}
    )


def _fits(parts: list[str], glob: list[str]) -> bool:
    """Whether a path fits a pattern, part by part; ``**`` stands for any number of folders."""
    if not glob:
        return not parts
    if glob[0] == "**":
        return any(_fits(parts[skipped:], glob[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], glob[0]) and _fits(parts[1:], glob[1:])


def _content(access: JobAccess, jobid: str, name: str) -> bytes:
    content = bytearray()
    for piece in access.read_file(jobid, name):
        content += piece
        if len(content) > JSON_LIMIT_BYTES:
            raise _unusable(jobid, name, f"longer than {format_bytes(JSON_LIMIT_BYTES)}")
    return bytes(content)


def _parsed(content: bytes, jobid: str, name: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise _unusable(jobid, name, f"not JSON: {error}") from error


def _unusable(jobid: str, name: str, problem: str) -> BadInputError:
    return BadInputError(
        f"the job's file {name} cannot be used: {problem}",
        where=f"job {jobid}",
        mend="look at the job's log; the job must write this file atomically",
    )
