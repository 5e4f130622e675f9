"""Jobs as lines for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lclstreamer.core.output import print_json

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.facts import BackendFacts, FileFacts, JobLine, RowFacts


def show_lines(lines: Iterable[JobLine], *, as_json: bool) -> None:
    """Print a list of jobs."""
    if as_json:
        print_json([line_document(line) for line in lines])
        return
    listed = list(lines)
    has_owners = any(line.owner for line in listed)
    owner = f"{'owner':<14} " if has_owners else ""
    sys.stdout.write(
        f"{'jobid':<21} {'state':<9} {'ndx':>3} {'updated':<19} "
        f"{'backend':<12} {owner}{'name':<20} info\n"
    )
    for line in listed:
        owner = f"{person(line.owner):<14} " if has_owners else ""
        info = line.info or line.remark
        sys.stdout.write(
            f"{line.jobid:<21} {line.state:<9} {line.jobndx:>3} {clock(line.updated):<19} "
            f"{line.backend:<12} {owner}{plain(line.name)[:20]:<20} {plain(info)}\n"
        )


def show_backends(found: Iterable[BackendFacts]) -> None:
    """Print a list of backends."""
    for each in found:
        problem = f"  cannot be used: {each.problem}" if each.problem else ""
        sys.stdout.write(f"{each.name:<20} {each.type:<12} {each.queue_name or ''}{problem}\n")


def show_files(found: Iterable[FileFacts]) -> None:
    """Print a list of files."""
    for each in found:
        sys.stdout.write(f"{each.size:>15}  {clock(each.mtime)}  {plain(each.path)}\n")


def history_line(row: RowFacts) -> str:
    """A row of a history."""
    return f"{clock(row.time)}  {row.jobndx:>3}  {row.state:<9}  {plain(row.info)}"


def plain(text: str) -> str:
    """A text of other people's, without what would command a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def person(owner: str | None) -> str:
    """An owner without the authority's key, which `--json` tells."""
    return plain((owner or "").partition("@")[0])


def line_document(line: JobLine) -> dict[str, Any]:
    """A job in a list, for programs: the same fields from a folder and a service."""
    from airflow_provider_lclstream.psik.facts import JobLine

    return line.model_dump(mode="json", include=set(JobLine.model_fields))


def place_of(where: str, jobid: str) -> str:
    """Where a job is, for people: its folder, or its service."""
    return f"service: {where}" if "://" in where else f"folder: {where}/{jobid}"


def clock(seconds: float) -> str:
    """A moment as local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
