"""`lclstream demo` and `lclstream sim`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.output import note, print_json
from lclstreamer.core.units import format_bytes

demo_app = new_app()
sim_app = new_app("Single parts of the demo.")
SMALL_RUN_EVENTS = 20


class RunFormat(StrEnum):
    """What a simulated run is written as."""

    XTC2 = "xtc2"
    HDF5 = "hdf5"


def demo_command(argv: list[str]) -> int:
    """Run ``lclstream demo`` with these words."""
    return run_app(demo_app, argv, "lclstream demo")


def sim_command(argv: list[str]) -> int:
    """Run ``lclstream sim`` with these words."""
    return run_app(sim_app, argv, "lclstream sim")


AsJson = Annotated[bool, typer.Option("--json", help="End with one JSON document on one line.")]
Form = Annotated[
    RunFormat | None, typer.Option("--format", help="xtc2 where psana is installed, else hdf5.")
]


@demo_app.command()
def demo(
    events: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Shots in a run: 120, in a burst 20."),
    ] = None,
    ranks: Annotated[int, typer.Option(min=1, max=64, help="Ranks that produce events.")] = 2,
    consumers: Annotated[int, typer.Option(min=1, max=64, help="Consumers of a transfer.")] = 2,
    runs: Annotated[int, typer.Option(min=1, max=100, help="Runs that start in a burst.")] = 1,
    folder: Annotated[
        Path | None, typer.Option(help="A new folder for everything; else a temporary one.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of Airflow's interface; 0: a free one.")
    ] = 0,
    timeout: Annotated[
        float, typer.Option(min=1, max=86_400, help="Seconds for all transfers together.")
    ] = 600,
    form: Form = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave Airflow's interface up until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the whole path on this machine: a run starts, Airflow hears it, events arrive."""
    from airflow_provider_lclstream.sim.demo import DemoSettings, exit_code_of, run_demo

    settings = DemoSettings(
        events=events or (120 if runs == 1 else SMALL_RUN_EVENTS),
        ranks=ranks,
        consumers=consumers,
        runs=runs,
        folder=folder,
        keep=keep,
        form=form.value if form else None,
        port=port,
        timeout_seconds=timeout,
    )
    result = run_demo(settings)
    if as_json:
        print_json(result)
    else:
        _summarise(result)
    raise typer.Exit(exit_code_of(result))


@sim_app.command()
def kafka(
    address_file: Annotated[
        Path | None, typer.Option(help="The broker's host:port is written here.")
    ] = None,
) -> None:
    """Run the Kafka broker inside librdkafka until it is stopped; for tests, in memory."""
    from airflow_provider_lclstream.sim.kafka_broker import serve

    serve(address_file, on_ready=lambda address: note(f"Kafka broker listens at {address}"))


@sim_app.command()
def elog(
    bootstrap: Annotated[str, typer.Option(help="host:port of the Kafka broker.")],
    experiment: Annotated[str, typer.Option(help="An experiment to open.")] = "mfxx00126",
    instrument: Annotated[str, typer.Option(help="Its instrument.")] = "MFX",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
) -> None:
    """Run the minimal Elog until it is stopped."""
    from airflow_provider_lclstream.sim.elog import serve

    serve(bootstrap, experiment, instrument, port, on_ready=lambda url: note(f"Elog at {url}"))


@sim_app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="Where its files are written.")],
    experiment: Annotated[str, typer.Option(help="The experiment's name.")] = "mfxx00126",
    number: Annotated[int, typer.Option(min=1, help="The run's number.")] = 1,
    events: Annotated[int, typer.Option(min=1, help="Shots in it.")] = 120,
    form: Form = None,
    as_json: AsJson = False,
) -> None:
    """Write a simulated run."""
    from airflow_provider_lclstream.sim.simulated_run import write_run

    written = write_run(folder, experiment, number, events, form=form.value if form else None)
    files = [str(path) for path in written.files]
    if as_json:
        print_json({"files": files, "hits": written.hits, "event_ids": written.event_ids})
    else:
        typer.echo("\n".join(files))


def _summarise(result: dict[str, Any]) -> None:
    seconds = {
        name.removeprefix("seconds_to_"): value
        for name, value in result.items()
        if name.startswith("seconds_to_")
    }
    times = ", ".join(f"{name.replace('_', ' ')} {value:.1f} s" for name, value in seconds.items())
    typer.echo(
        f"{result['state']}: {result['events_delivered']} of {result['events_produced']} events "
        f"({format_bytes(result['bytes'])}) arrived exactly once, {result['events_lost']} lost\n"
        f"after the run began: {times}\n"
        f"ledger: {_ledger_line(result['ledger'])}\n"
        f"picture: {result['picture']}"
    )


def _ledger_line(ledger: dict[str, Any]) -> str:
    names = ("received", "sent", "acknowledged", "unconfirmed", "redelivered", "undelivered")
    return ", ".join(f"{name} {ledger.get(name, {}).get('messages', 0)}" for name in names)
