"""``lclstream message``: a curl that knows aliases, identities and whom to trust."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from airflow_provider_lclstream.certified.findings import expiry_warnings
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.message import (
    HTTP_ERROR_EXIT,
    PRETTY_LIMIT_BYTES,
    Call,
    parse_headers,
    pretty,
    read_json_file,
    read_yaml_file,
    resolved,
    save,
    send,
)
from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.errors import OutputError, UsageError
from lclstreamer.core.output import note, run_command
from lclstreamer.core.units import format_bytes, parse_duration

app = new_app()


@app.command()
def message(
    url: Annotated[str, typer.Argument(metavar="ALIAS/path", help="or https://host:port/path")],
    data: Annotated[str | None, typer.Argument(help="body, as upstream takes it")] = None,
    method: Annotated[str | None, typer.Option("-X", help="HTTP method")] = None,
    body: Annotated[str | None, typer.Option("-d", "--data", help="body, or @FILE")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="send this JSON file")] = None,
    yaml_file: Annotated[Path | None, typer.Option("--yaml", help="send this YAML as JSON")] = None,
    header: Annotated[list[str] | None, typer.Option("-H", help='"Name: value"')] = None,
    pp: Annotated[bool, typer.Option("--pp", help="print JSON with line breaks")] = False,
    output: Annotated[Path | None, typer.Option("-o", help="write the reply to a file")] = None,
    verbose: Annotated[bool, typer.Option("-v", help="tell what is sent and received")] = False,
    timeout: Annotated[str, typer.Option(help="wait at most this long for bytes")] = "30s",
    config: Annotated[Path | None, typer.Option(help="identity folder")] = None,
) -> int:
    """Send one message under mutual TLS. Exit code: 0 on 2xx, 22 on other replies."""
    folder = IdentityFolder(config).require()
    for finding in expiry_warnings(folder):
        note(str(finding))
    call = Call(
        url=url,
        method=method.upper() if method else None,
        body=_body(data if data is not None else body, json_file, yaml_file),
        headers=parse_headers(header or []),
        timeout_seconds=parse_duration(timeout),
    )
    if verbose:
        note(f"> {call.method or ('POST' if call.body else 'GET')} {resolved(folder, url).url}")
    with send(folder, call) as reply:
        if verbose:
            note(f"< {reply.http_version} {reply.status_code}")
            for name, value in reply.headers.items():
                note(f"< {name}: {value}")
        if not reply.is_success:
            sys.stderr.buffer.write(reply.read() + b"\n")
            note(f"error: the service answered {reply.status_code}")
            return HTTP_ERROR_EXIT
        if output is not None:
            note(f"{format_bytes(save(reply, output))} in {output}")
        else:
            _print(reply, pp=pp)
    return 0


def _print(reply: object, *, pp: bool) -> None:
    out = sys.stdout.buffer
    if pp:
        body = reply.read()  # type: ignore[attr-defined]
        if len(body) > PRETTY_LIMIT_BYTES:
            raise OutputError("the reply is too long to be formatted", mend="use -o FILE")
        out.write(pretty(body))
    else:
        for chunk in reply.iter_bytes():  # type: ignore[attr-defined]
            out.write(chunk)
        if sys.stdout.isatty():
            out.write(b"\n")
    out.flush()


def _body(data: str | None, json_file: Path | None, yaml_file: Path | None) -> bytes | None:
    given = [one for one in (data, json_file, yaml_file) if one is not None]
    if len(given) > 1:
        raise UsageError("the body is given twice", mend="choose one of -d, --json and --yaml")
    if json_file is not None:
        return read_json_file(json_file)
    if yaml_file is not None:
        return read_yaml_file(yaml_file)
    if data is not None and data.startswith("@"):
        try:
            return Path(data[1:]).read_bytes()
        except OSError as error:
            raise UsageError(
                f"the body cannot be read: {error}", mend="name a readable file after the @"
            ) from error
    return data.encode() if data is not None else None


def message_command(words: list[str]) -> int:
    """Run ``lclstream message`` with these words and give its exit code."""
    # Here --json names a file to send; it does not ask for errors as JSON.
    return run_command(lambda: run_app(app, words, "lclstream message"), as_json=False)
