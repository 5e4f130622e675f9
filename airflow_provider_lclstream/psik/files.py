"""``lclstream psik files``: what a job's script has written, listed or printed."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from airflow_provider_lclstream.psik.config import find_config
from airflow_provider_lclstream.psik.job import Job, JobNotFoundError
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.output import print_json


def files_of(job: Job) -> Iterator[dict[str, Any]]:
    """The files below a job's work folder by path, with size in bytes and time of last change.

    Symbolic links are left out: what they point to is not the job's.
    """
    for folder, names, files in os.walk(job.work):
        names.sort()
        for name in sorted(files):
            path = Path(folder) / name
            if path.is_symlink() or not path.is_file():
                continue
            facts = path.stat()
            where = path.relative_to(job.work).as_posix()
            yield {"path": where, "size": facts.st_size, "mtime": facts.st_mtime}


def file_of(job: Job, name: str) -> Path:
    """The file of this path below a job's work folder.

    Raises:
        JobNotFoundError: there is none, or the path leads out of the folder.
    """
    root = job.work.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise JobNotFoundError(
            f"job {job.jobid} has no file {name!r}",
            mend=f"`lclstream psik files {job.jobid}` lists them",
        )
    return path


def files(
    jobid: Annotated[str, typer.Argument(metavar="JOBID", help="The job's id.")],
    name: Annotated[str | None, typer.Argument(help="Print this file instead.")] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="The file psik.json; else $PSIK_CONFIG and the usual places."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output.")
    ] = False,
) -> None:
    """List the files in a job's work folder, or print one of them."""
    job = JobStore.from_config(find_config(config)).get(jobid)
    if name is not None:
        with file_of(job, name).open("rb") as stream:
            shutil.copyfileobj(stream, sys.stdout.buffer)
        return
    if as_json:
        print_json(list(files_of(job)))
        return
    for facts in files_of(job):
        changed = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["mtime"]))
        sys.stdout.write(f"{facts['size']:>15}  {changed}  {facts['path']}\n")
