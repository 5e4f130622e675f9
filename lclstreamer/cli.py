"""``lclstreamer``: stream a run as its configuration says.

``lclstreamer -c CONFIG`` without a verb means ``run``, as in the paper and upstream.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.errors import LCLStreamError
from lclstreamer.core.output import note, print_json, report_error, run_command
from lclstreamer.core.units import format_bytes

if TYPE_CHECKING:
    from lclstreamer.engine.rank import Rank
    from lclstreamer.engine.report import RankReport
    from lclstreamer.event_sources.base import StopFlag
    from lclstreamer.mpi import RankContext
    from lclstreamer.parameters.configuration import StreamerConfiguration

DEFAULT_CONFIGURATION = Path("lclstreamer.yaml")
ABORT_PAUSE_SECONDS = 0.5
VERBS = ("run", "check", "schema", "sources")

app = new_app(
    "Stream events of an experiment: read, select, batch, serialize, send.",
    epilog="`lclstreamer -c CONFIG` means `lclstreamer run -c CONFIG`.",
)

Config = Annotated[
    Path, typer.Option("-c", "--config", metavar="FILE", help="Configuration, YAML or JSON.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program and exit with its code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        from importlib.metadata import version

        sys.stdout.write(f"lclstreamer {version('airflow-provider-lclstream')}\n")
        return
    if words and words[0].startswith("-") and words[0] not in {"-h", "--help"}:
        words.insert(0, "run")
    sys.exit(run_command(lambda: run_app(app, words, "lclstreamer"), as_json="--json" in words))


@app.command()
def run(
    *,
    config: Config = DEFAULT_CONFIGURATION,
    number_of_events: Annotated[
        int,
        typer.Option("-n", "--num-events", min=0, help="Stop after N events in all; 0 for all."),
    ] = 0,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Each rank writes report.r<rank>.json there."),
    ] = None,
    as_json: AsJson = False,
    debug: Annotated[
        bool, typer.Option("-d", "--debug", envvar="LCLSTREAMER_DEBUG", help="Log more.")
    ] = False,
) -> None:
    """Stream a run. Start it with mpirun or srun for several ranks."""
    from lclstreamer.engine.memory import keep_freed_memory
    from lclstreamer.engine.rank import Rank, needs_communicator
    from lclstreamer.engine.report import prove_writable
    from lclstreamer.mpi import find_rank, guard_rank
    from lclstreamer.parameters.configuration import load_configuration

    configuration = load_configuration(config)
    context = find_rank(needs_communicator=needs_communicator(configuration))
    code = guard_rank(context)
    if code is None:
        _configure_logging(debug=debug)
        keep_freed_memory()
        if report is not None:
            prove_writable(report)
        rank = Rank(configuration, context, limit=number_of_events or None, stop=_stop_on_signals())
        code = _stream(rank, context, report, as_json=as_json)
    raise typer.Exit(code)


def _configure_logging(*, debug: bool) -> None:
    from lclstreamer.core.logging import configure_logging

    configure_logging("DEBUG" if debug else "INFO")
    logging.captureWarnings(capture=True)


def _stop_on_signals() -> StopFlag:
    """The first SIGTERM or SIGINT stops the reading; a second SIGINT interrupts at once."""
    from lclstreamer.event_sources.base import StopFlag

    stop = StopFlag()

    def ask(number: int, _frame: Any) -> None:
        stop.set()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    return stop


def _stream(rank: Rank, context: RankContext, folder: Path | None, *, as_json: bool) -> int:
    from lclstreamer.engine.stages import attempt

    with contextlib.redirect_stdout(sys.stderr):  # psana prints; standard output is for facts
        report = rank.run()
    error = rank.error
    if folder is not None:
        error = attempt(lambda: report.write(folder)) or error
    if error is None or (report.events_read and not as_json):
        _tell(report, error, as_json=as_json)
    if error is None:
        context.leave()
        return report.exit_code
    if context.communicator is None:
        raise error
    # The other ranks would wait for this one for ever: MPI ends them all. mpirun then ends too,
    # with whatever it has not passed on yet: give it time for the reason.
    code = report_error(error, as_json=as_json)
    time.sleep(ABORT_PAUSE_SECONDS)
    context.communicator.Abort(code)
    return code


def _tell(report: RankReport, error: LCLStreamError | None, *, as_json: bool) -> None:
    if as_json:
        print_json(report.to_json())
        return
    did = (
        f"{report.events} events in {report.messages} messages ({format_bytes(report.bytes)}), "
        f"{report.skipped_events} skipped"
        if report.role == "events"
        else "served the other ranks"
    )
    note(f"rank {report.rank} of {report.size}: {report.state}: {did}, {report.seconds:.1f} s")
    for problem in report.problems:
        if problem != str(error):  # which is told at the end, with its mend on a line of its own
            note(f"  {problem}")


@app.command()
def check(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration, YAML or JSON.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say whether a configuration is right, and what this machine lacks to run it."""
    from lclstreamer.engine.availability import why_unavailable
    from lclstreamer.parameters.configuration import load_configuration

    configuration = load_configuration(config)
    lacking = why_unavailable(configuration)
    if as_json:
        print_json({"valid": True, "lacking": lacking, "configuration": _plain(configuration)})
        return
    sys.stdout.write(f"{config} is right\n")
    for text in lacking:
        sys.stdout.write(f"  but here: {text}\n")


def _plain(configuration: StreamerConfiguration) -> Any:
    return configuration.model_dump(mode="json")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors and other programs."""
    from lclstreamer.parameters.configuration import StreamerConfiguration

    sys.stdout.write(json.dumps(StreamerConfiguration.model_json_schema(), indent=2) + "\n")


@app.command()
def sources(*, as_json: AsJson = False) -> None:
    """List every class a configuration can name, and what this machine lacks for it."""
    from lclstreamer.engine.availability import list_classes

    classes = list_classes()
    if as_json:
        print_json(classes)
        return
    for kind, entries in classes.items():
        sys.stdout.write(f"{kind.replace('_', ' ')}\n")
        for name, lacking in entries.items():
            sys.stdout.write(f"  {name}" + (f"  (here: {lacking})" if lacking else "") + "\n")


if __name__ == "__main__":
    main()
