"""``lclstream psik files``: what a job's script has written: listed, printed or saved."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_provider_lclstream.psik.command_line.options import (
    AsJson,
    Config,
    Identity,
    JobId,
    Service,
    open_access,
)
from airflow_provider_lclstream.psik.command_line.tables import show_files
from lclstreamer.core.errors import BadInputError, LCLStreamError, OutputError
from lclstreamer.core.output import note, print_json

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.access.base import JobAccess


def files(
    jobid: JobId,
    name: Annotated[str | None, typer.Argument(help="Print this file instead.")] = None,
    *,
    config: Config = None,
    service: Service = None,
    identity: Identity = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Save the file there; without one, all files into this folder."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the files in a job's work folder; print one of them, or save them."""
    access = open_access(config, service, identity)
    if name is not None:
        pieces = access.read_file(jobid, name)
        if output is None:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
        else:
            target = output / PurePosixPath(name).name if output.is_dir() else output
            note(f"{target}: {_save(pieces, target)} bytes")
        return
    if output is not None:
        _save_all(access, jobid, output)
        return
    found = access.files(jobid)
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
    else:
        show_files(found)


def _save_all(access: JobAccess, jobid: str, folder: Path) -> None:
    """Save every file; one that cannot be read does not keep the others.

    Raises:
        BadInputError: some could not be read.
    """
    found, problems = access.files(jobid), list[str]()
    for number, each in enumerate(found, 1):
        try:
            size = _save(access.read_file(jobid, each.path), _below(folder, each.path))
        except BadInputError as error:
            note(f"warning: {each.path} was left out: {error.problem}")
            problems.append(each.path)
        else:
            note(f"{number}/{len(found)} {each.path}: {size} bytes")
    if problems:
        raise BadInputError(
            f"{len(problems)} of {len(found)} files could not be read",
            mend="the warnings above say which and why; the others have been saved",
        )


def _below(folder: Path, name: str) -> Path:
    """Where a file of this path is saved.

    Raises:
        OutputError: a service named one that would lie elsewhere.
    """
    path = PurePosixPath(name)
    target = folder / path
    if path.is_absolute() or not target.resolve().is_relative_to(folder.resolve()):
        raise OutputError(
            f"{name!r} would lie outside of {folder}", mend="do not use that service or folder"
        )
    return target


def _save(pieces: Iterable[bytes], path: Path) -> int:
    """Write a file, whole or not at all; gives its length in bytes."""
    aside, written = path.with_name(f".{path.name[:200]}.part"), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as stream:
            for piece in pieces:
                written += stream.write(piece)
        aside.replace(path)
    except LCLStreamError:
        aside.unlink(missing_ok=True)
        raise
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OutputError(
            f"{path} cannot be written: {error.strerror}", mend="choose another place with -o"
        ) from error
    return written
