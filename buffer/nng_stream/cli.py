"""``nng-stream``: run a buffer, ask it how it is, drain it."""

from __future__ import annotations

import gc
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.errors import BadInputError, IncompleteStreamError
from lclstreamer.core.output import note, print_json, run_command
from lclstreamer.core.units import format_bytes

if TYPE_CHECKING:
    from nng_stream.ledger import Ledger
    from nng_stream.settings import BufferSettings

app = new_app(
    "A buffer between parallel producers and consumers: each message goes to one consumer."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Place = Annotated[
    str, typer.Argument(metavar="URL_OR_DIR", help="The admin URL, or the buffer's directory.")
]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program and exit with its code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        from importlib.metadata import version

        sys.stdout.write(f"nng-stream {version('airflow-provider-lclstream')}\n")
        return
    sys.exit(run_command(lambda: run_app(app, words, "nng-stream"), as_json="--json" in words))


Count = Annotated[int | None, typer.Option(min=0, help="The stream ends when so many have ended.")]
Consumers = Annotated[
    int | None, typer.Option(min=0, help="It does not end before so many have come.")
]
Config = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings, YAML or JSON; options win.")
]
Directory = Annotated[
    str | None, typer.Option(metavar="DIR", help="For endpoints.json and ledger.json.")
]
Limit = Annotated[
    str | None, typer.Option("--limit", metavar="SIZE", help="Memory for messages, e.g. 256MiB.")
]
LongestMessage = Annotated[
    str | None, typer.Option("--max-message", metavar="SIZE", help="Longer ones are refused.")
]
Inlet = Annotated[
    list[str] | None, typer.Option("--inlet", metavar="URL", help="Listen for producers there.")
]
Outlet = Annotated[
    list[str] | None, typer.Option("--outlet", metavar="URL", help="Listen for consumers there.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="NAME", help="Only such peers, over tls+tcp://: uid:alice …"),
]
AllowProducer = Annotated[
    list[str] | None,
    typer.Option("--allow-producer", metavar="NAME", help="The same for the inlets alone."),
]
AllowConsumer = Annotated[
    list[str] | None,
    typer.Option("--allow-consumer", metavar="NAME", help="The same for the outlets alone."),
]
Host = Annotated[str | None, typer.Option(help="Listen there, where no URL is given.")]
PublishedHost = Annotated[str | None, typer.Option(help="The name that others should dial.")]
Ports = Annotated[str | None, typer.Option(metavar="A-B", help="Choose free ports in this range.")]
StartTimeout = Annotated[
    str | None,
    typer.Option("--start-timeout", metavar="TIME", help="Wait so long for a producer."),
]
IdleTimeout = Annotated[
    str | None,
    typer.Option("--idle-timeout", metavar="TIME", help="End when nothing moves for so long."),
]
DrainTimeout = Annotated[
    str | None,
    typer.Option("--drain-timeout", metavar="TIME", help="Give up the rest after so long."),
]

ConsumerTimeout = Annotated[
    str | None,
    typer.Option(
        "--consumer-timeout",
        metavar="TIME",
        help="Give the messages of a consumer that acknowledges nothing for so long to another.",
    ),
]


@app.command()
def run(
    *,
    config: Config = None,
    directory: Directory = None,
    name: Annotated[str | None, typer.Option(help="What it calls itself.")] = None,
    expected_producers: Count = None,
    expected_consumers: Consumers = None,
    limit_bytes: Limit = None,
    max_message_bytes: LongestMessage = None,
    inlets: Inlet = None,
    outlets: Outlet = None,
    allowed: Allow = None,
    allowed_producers: AllowProducer = None,
    allowed_consumers: AllowConsumer = None,
    host: Host = None,
    published_host: PublishedHost = None,
    port_range: Ports = None,
    start_timeout_seconds: StartTimeout = None,
    idle_timeout_seconds: IdleTimeout = None,
    drain_timeout_seconds: DrainTimeout = None,
    consumer_timeout_seconds: ConsumerTimeout = None,
    as_json: AsJson = False,
) -> None:
    """Buffer one stream, until it has ended and was delivered.

    Exits 0 if every message was delivered, 74 if anything is missing; the ledger says what.
    """
    given = {
        key: value
        for key, value in locals().items()  # the options have the names of the settings
        if value is not None and key not in {"config", "as_json"}
    }
    ledger = _serve(_settings(config, given))
    _tell(ledger, as_json=as_json)
    raise typer.Exit(0 if ledger.state == "completed" else IncompleteStreamError.exit_code)


def _settings(config: Path | None, given: dict[str, Any]) -> BufferSettings:
    from lclstreamer.core.config_file import Document, parse_document, validate_document
    from nng_stream.settings import BufferSettings

    document = Document("the command line", {})
    if config is not None:
        try:
            document = parse_document(config.read_text(encoding="utf-8"), name=str(config))
        except OSError as error:
            raise BadInputError(
                f"cannot read {config}: {error.strerror}", mend="give a readable YAML or JSON file"
            ) from error
    if isinstance(document.data, dict) or document.data is None:
        document.data = {**(document.data or {}), **given}
    return validate_document(document, BufferSettings)


def _serve(settings: BufferSettings) -> Ledger:
    from lclstreamer.core.logging import configure_logging
    from nng_stream.admin import Admin
    from nng_stream.forwarder import Buffer

    configure_logging("INFO")
    gc.freeze()  # what start-up made stays; the collector need not look at it again and again
    buffer = Buffer(settings)

    def stop(_number: int, _frame: object) -> None:
        buffer.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    admin = Admin(buffer, settings.admin_port)
    admin.start()
    buffer.publish(admin.url)
    try:
        return buffer.run()
    finally:
        admin.close()


def _tell(ledger: Ledger, *, as_json: bool) -> None:
    if as_json:
        print_json(ledger.to_json())
        return
    note(
        f"{ledger.state}: received {ledger.received.messages} messages "
        f"({format_bytes(ledger.received.bytes)}), acknowledged {ledger.acknowledged.messages}, "
        f"unconfirmed {ledger.unconfirmed.messages}, redelivered {ledger.redelivered.messages}, "
        f"undelivered {ledger.undelivered.messages}"
    )
    for problem in ledger.problems:
        note(f"  {problem}")


@app.command()
def status(place: Place, *, as_json: AsJson = False) -> None:
    """Say where a running buffer is in its life, and its ledger up to now."""
    document = _ask(place, "/status")
    if as_json:
        print_json(document)
        return
    received, queued = document["received"], document["queued"]
    sys.stdout.write(
        f"{document['state']}: received {received['messages']} messages "
        f"({format_bytes(received['bytes'])}), queued {queued['messages']}, "
        f"{document['connected']['producers']} producers, "
        f"{document['connected']['consumers']} consumers\n"
    )


@app.command()
def drain(place: Place, *, as_json: AsJson = False) -> None:
    """Tell a running buffer to take nothing more in, deliver the rest, and end."""
    document = _ask(place, "/drain", method="POST")
    if as_json:
        print_json(document)
    else:
        sys.stdout.write(f"{document['state']}\n")


def _ask(place: str, path: str, method: str = "GET") -> dict[str, Any]:
    from nng_stream.client import ask

    return json.loads(ask(place, path, method))
