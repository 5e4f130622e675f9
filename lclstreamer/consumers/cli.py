"""``lclstream pull`` and ``lclstream push``."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.errors import IncompleteStreamError, OutputError, UsageError
from lclstreamer.core.output import note, print_json
from lclstreamer.core.units import format_bytes

if TYPE_CHECKING:
    from lclstreamer.consumers.files import Sink
    from lclstreamer.consumers.pull import PullSummary
    from lclstreamer.core.events import DeliveryReport


pull_app = new_app()
push_app = new_app()

Listen = Annotated[
    bool, typer.Option("-l", "--listen", help="Let the other side dial this program.")
]
Name = Annotated[str, typer.Option(help="What ledgers call this program.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds to try dialing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document at the end.")]
Report = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the same document to a file.")
]
Url = Annotated[str, typer.Argument(metavar="URL", help="tcp://host:port or zmq+tcp://host:port.")]


def pull_command(argv: list[str]) -> int:
    """Run ``lclstream pull`` with these words; returns the exit code."""
    return run_app(pull_app, argv, "lclstream pull")


def push_command(argv: list[str]) -> int:
    """Run ``lclstream push`` with these words; returns the exit code."""
    return run_app(push_app, argv, "lclstream push")


@pull_app.command()
def pull(
    url: Url,
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write files there.")
    ] = None,
    tar: Annotated[bool, typer.Option("--tar", help="Write a tar to standard output.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Only count the messages.")] = False,
    count: Annotated[int, typer.Option("-n", min=0, help="Stop after N messages; 0: all.")] = 0,
    name_format: Annotated[
        str, typer.Option(metavar="FORMAT", help="Names, e.g. {index:05d}{suffix} or %05d.h5.")
    ] = "",
    listen: Listen = False,
    name: Name = "",
    timeout: Timeout = 30.0,
    idle_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds to wait for a message.")
    ] = 3600.0,
    as_json: AsJson = False,
    report: Report = None,
) -> None:
    """Take the messages of a stream into files or a tar.

    Exits 0 if the stream's end was told and everything came (or N messages did), 74 if it was cut
    short. A message is acknowledged when it has been written; one that is not goes to another.
    """
    from lclstreamer.consumers.pull import cut_short, pull_into
    from lclstreamer.transport.connect import open_pull

    if tar and as_json:
        raise UsageError(
            "--tar and --json both want standard output", mend="use --report FILE with --tar"
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave in good order
    sink = _sink(output, name_format, tar=tar, discard=discard)
    with open_pull(url, listen=listen, name=name, timeout_seconds=timeout) as stream:
        if listen and not as_json:
            note(f"listening on {stream.endpoint}")
        summary = pull_into(sink, stream, count=count, idle_timeout_seconds=idle_timeout)
    _tell(summary.to_json(), _pull_text(summary), report, as_json=as_json)
    if not summary.is_complete:
        error = cut_short(stream)
        if not as_json:
            raise error
        note(error.render())  # standard output has its one document already
        raise typer.Exit(error.exit_code)


def _sink(output: Path | None, name_format: str, *, tar: bool, discard: bool) -> Sink:
    from lclstreamer.consumers.files import NAME_FORMAT, Folder, Nowhere, Tar

    if [output is not None, tar, discard].count(True) != 1:
        raise UsageError(
            "say where the messages should go",
            mend="give one of: -o DIR, --tar (to standard output), --discard (only count)",
        )
    if output is not None:
        return Folder(output, name_format or NAME_FORMAT)
    if tar and sys.stdout.isatty():
        raise UsageError("a terminal is no place for a tar", mend="redirect it: … --tar > run.tar")
    return Tar(sys.stdout.buffer, name_format or NAME_FORMAT) if tar else Nowhere()


def _pull_text(summary: PullSummary) -> str:
    rate = summary.bytes / summary.seconds if summary.seconds else 0.0
    return (
        f"{summary.end}: {summary.messages} messages, {format_bytes(summary.bytes)} "
        f"in {summary.seconds:.1f} s ({format_bytes(rate)}/s)"
    )


@push_app.command()
def push(
    words: Annotated[
        list[str], typer.Argument(metavar="FILE... URL", help="The files, then where to.")
    ],
    *,
    listen: Listen = False,
    name: Name = "",
    timeout: Timeout = 30.0,
    send_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds to wait for a slow receiver.")
    ] = 600.0,
    as_json: AsJson = False,
    report: Report = None,
) -> None:
    """Put files into a stream, each as one message.

    Exits 0 if everything was delivered, 74 if anything was not.
    """
    from lclstreamer.consumers.push import check_files, push_files
    from lclstreamer.transport.connect import open_push

    *names, url = words
    if "://" not in url or not names:
        raise UsageError(
            "files and a URL are needed", mend="lclstream push FILE... tcp://host:port"
        )
    files = [Path(name) for name in names]
    check_files(files)
    stream = open_push(url, listen=listen, name=name, timeout_seconds=timeout)
    if listen and not as_json:
        note(f"listening on {stream.endpoint}")
    delivery = push_files(stream, files, send_timeout_seconds=send_timeout)
    _tell(asdict(delivery), _push_text(delivery), report, as_json=as_json)
    if delivery.problems:
        if as_json:
            raise typer.Exit(IncompleteStreamError.exit_code)
        raise IncompleteStreamError(
            "; ".join(delivery.problems),
            mend="see the other side's ledger and log, then push again",
        )


def _push_text(delivery: DeliveryReport) -> str:
    confirmed = delivery.confirmed_messages
    proof = "the receiver cannot confirm" if confirmed is None else f"{confirmed} confirmed"
    return f"sent {delivery.messages} messages, {format_bytes(delivery.bytes)}, {proof}"


def _tell(facts: dict[str, Any], text: str, report: Path | None, *, as_json: bool) -> None:
    if report is not None:
        draft = report.with_name(f".{report.name}.part")
        try:
            draft.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
            draft.replace(report)
        except OSError as error:
            raise OutputError(
                f"cannot write {report}: {error.strerror or error}", mend="choose another --report"
            ) from error
    if as_json:
        print_json(facts)
    else:
        note(text)
