"""`lclstream transfer`: what a request may say, what it would start, and the state table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.output import print_json

app = new_app("Transfers: schema, launch plan, states.")


def transfer_command(argv: list[str]) -> int:
    """Run ``lclstream transfer`` with these words."""
    return run_app(app, argv, "lclstream transfer")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a transfer request."""
    from airflow_provider_lclstream.transfer.models import TransferRequest

    print_json(TransferRequest.model_json_schema())


@app.command()
def states() -> None:
    """Print the state diagram of transfers as Mermaid."""
    from airflow_provider_lclstream.transfer.diagram import mermaid

    typer.echo(mermaid(), nl=False)


@app.command()
def plan(
    request: Annotated[Path, typer.Argument(help="A transfer request (YAML or JSON).")],
    site: Annotated[Path | None, typer.Option(help="The site's settings (YAML).")] = None,
    transfers: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many transfers may run at a time.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the jobs that a request would start; start nothing."""
    from airflow_provider_lclstream.transfer.launch_plan import (
        BufferEndpoints,
        check_room,
        plan_buffer,
        plan_streamer,
    )
    from airflow_provider_lclstream.transfer.models import TransferRequest
    from airflow_provider_lclstream.transfer.site import load_site
    from lclstreamer.core.config_file import load_model

    asked, here = load_model(request, TransferRequest), load_site(site)
    check_room(asked, here, transfers)
    # The port is the buffer's own choice; 1 stands for it.
    inlets = {"nng": f"tcp://{here.host}:1", "zmq": f"zmq+tcp://{here.host}:1"}
    if here.data_ports == "tls":
        inlets = {"nng": f"tls+tcp://{here.host}:1"}
    endpoints = BufferEndpoints(inlets=inlets, outlets=inlets)
    jobs = {
        "buffer": plan_buffer(asked, here),
        "streamer": plan_streamer(asked, here, endpoints),
    }
    if as_json:
        print_json({role: spec.to_stored() for role, spec in jobs.items()})
        return
    for role, spec in jobs.items():
        minutes = spec.resources.duration
        typer.echo(f"# {role}: backend {spec.backend}, {spec.resources.processes} processes,")
        typer.echo(f"# at most {minutes:g} minutes\n{spec.script}")
