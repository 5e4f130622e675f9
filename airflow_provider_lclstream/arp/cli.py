"""`lclstream arp`: check a rules file, serve run events."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from airflow_provider_lclstream.arp.airflow_client import (
    CREDENTIALS_VARIABLE,
    URL_VARIABLE,
    AirflowClient,
    load_credentials,
)
from airflow_provider_lclstream.arp.rules import RULES_FILE_VARIABLE, load_rules
from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.output import note, print_json

app = new_app("The logbook's run events start transfers.")


def arp_command(argv: list[str]) -> int:
    """Run ``lclstream arp`` with these words."""
    return run_app(app, argv, "lclstream arp")


@app.command()
def check(
    rules: Annotated[Path, typer.Argument(help="The rules file (YAML).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Read a rules file and say what it does; every mistake is shown with its place."""
    book = load_rules(rules)
    if as_json:
        print_json(book.model_dump(mode="json"))
        return
    for rule in book.rules:
        kinds = f"{', '.join(rule.experiments)} at {', '.join(rule.instruments)}"
        typer.echo(f"{rule.name}: {rule.trigger}, {kinds}, types {', '.join(rule.run_types)}")
    typer.echo(f"{len(book.rules)} rules, runs up to {book.max_age:g} s old")


@app.command()
def serve(
    rules: Annotated[Path, typer.Option(help="The rules file (YAML).", envvar=RULES_FILE_VARIABLE)],
    airflow: Annotated[str, typer.Option(help="Airflow's URL.", envvar=URL_VARIABLE)],
    credentials: Annotated[
        Path,
        typer.Option(
            help="JSON file with username and password, mode 0600.", envvar=CREDENTIALS_VARIABLE
        ),
    ],
    bootstrap: Annotated[str, typer.Option(help="host:port of Kafka brokers, with commas.")],
    topic: Annotated[list[str] | None, typer.Option(help="Topic; may be repeated.")] = None,
    group: Annotated[str, typer.Option(help="The consumer group.")] = "lclstream-arp",
    from_beginning: Annotated[
        bool, typer.Option(help="A new group starts with the oldest message, not the latest.")
    ] = False,
    kafka_option: Annotated[
        list[str] | None, typer.Option(help="key=value for librdkafka; may be repeated.")
    ] = None,
    dead_letters: Annotated[
        Path | None, typer.Option(help="File for messages that can never be used.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics on loopback.")
    ] = None,
    dag_id: Annotated[str, typer.Option(help="The DAG of transfers.")] = "lclstream_transfer",
    dry_run: Annotated[bool, typer.Option(help="Say what would start; start nothing.")] = False,
    log_level: Annotated[str, typer.Option(help="The least severe level to log.")] = "INFO",
) -> None:
    """Start one transfer for each run that a rule fits, until it is stopped."""
    from airflow_provider_lclstream.arp.dispatcher import RunEventDispatcher
    from airflow_provider_lclstream.arp.metrics import serve_metrics
    from airflow_provider_lclstream.arp.serve import (
        DeadLetters,
        KafkaSettings,
        RunEventService,
    )
    from airflow_provider_lclstream.arp.serve import serve as serve_until_stopped
    from lclstreamer.core.logging import configure_logging

    configure_logging(log_level)
    kafka = KafkaSettings(
        bootstrap=bootstrap,
        topics=tuple(topic or ("runs", "file_catalog", "experiment_switch")),
        group=group,
        from_beginning=from_beginning,
        options=tuple(_key_value(option) for option in kafka_option or ()),
    )
    client = AirflowClient(airflow, load_credentials(credentials))
    dispatcher = RunEventDispatcher(load_rules(rules), client, dag_id=dag_id, dry_run=dry_run)
    service = RunEventService(kafka, dispatcher, DeadLetters(dead_letters))
    with contextlib.ExitStack() as undo:
        if metrics_port is not None:
            undo.callback(serve_metrics(metrics_port, lambda: service.counts))
        serve_until_stopped(service)
    note(f"stopped; outcomes: {dict(service.counts)}")


def _key_value(option: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if not equals:
        raise typer.BadParameter(f"{option!r} is not key=value")
    return key, value
