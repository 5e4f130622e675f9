"""Options and inputs that several commands of ``lclstream certified`` share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lclstreamer.core.errors import BadInputError

Config = Annotated[
    Path | None,
    typer.Option(help="identity folder [$LCLSTREAM_IDENTITY, $VIRTUAL_ENV/etc/certified]"),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what is there")]
Uid = Annotated[str | None, typer.Option(help="a person's login name")]
Org = Annotated[str | None, typer.Option(help="an organisation, with --unit")]
Unit = Annotated[str | None, typer.Option(help="the organisation's unit")]
Service = Annotated[str | None, typer.Option(help="a service's name, with --host")]
Job = Annotated[str | None, typer.Option(help="a job's name")]
Hosts = Annotated[list[str] | None, typer.Option("--host", help="name or address it serves on")]
Emails = Annotated[list[str] | None, typer.Option("--email", help="mail address")]


def read_input(path: Path) -> bytes:
    """What a file holds, or standard input for ``-``; no more than an introduction may hold.

    Raises:
        BadInputError: the file cannot be read.
    """
    from airflow_provider_lclstream.certified.introduction import MAXIMUM_BYTES

    if str(path) == "-":
        return sys.stdin.buffer.read(MAXIMUM_BYTES + 1)
    try:
        with path.open("rb") as stream:
            return stream.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        raise BadInputError(
            f"the file cannot be read: {error.strerror}",
            mend="name a readable file, or - for standard input",
            where=str(path),
        ) from error
