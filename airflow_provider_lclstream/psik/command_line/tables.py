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
    sys.stdout.write(f"{'jobid':<21} {'state':<9} {'ndx':>3} {'updated':<19} {'name':<20} info\n")
    for line in lines:
        info = line.info or line.remark
        sys.stdout.write(
            f"{line.jobid:<21} {line.state:<9} {line.jobndx:>3} "
            f"{clock(line.updated):<19} {line.name[:20]:<20} {info}\n"
        )


def show_backends(found: Iterable[BackendFacts]) -> None:
    """Print a list of backends."""
    for each in found:
        problem = f"  cannot be used: {each.problem}" if each.problem else ""
        sys.stdout.write(f"{each.name:<20} {each.type:<12} {each.queue_name or ''}{problem}\n")


def show_files(found: Iterable[FileFacts]) -> None:
    """Print a list of files."""
    for each in found:
        sys.stdout.write(f"{each.size:>15}  {clock(each.mtime)}  {each.path}\n")


def history_line(row: RowFacts) -> str:
    """A row of a history."""
    return f"{clock(row.time)}  {row.jobndx:>3}  {row.state:<9}  {row.info}"


def line_document(line: JobLine) -> dict[str, Any]:
    """What a program is told of a job in a list: no more here than there."""
    from airflow_provider_lclstream.psik.facts import JobLine

    return line.model_dump(mode="json", include=set(JobLine.model_fields))


def place_of(where: str, jobid: str) -> str:
    """Where a job is, for people: its folder, or its service."""
    return f"service: {where}" if "://" in where else f"folder: {where}/{jobid}"


def clock(seconds: float) -> str:
    """A moment as local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
