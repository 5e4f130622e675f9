"""``lclstream certified serve`` and ``authority``: servers under mutual TLS."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_provider_lclstream.certified.folder import IdentityFolder
from lclstreamer.core.logging import configure_logging
from lclstreamer.core.output import note, print_json

if TYPE_CHECKING:
    from airflow_provider_lclstream.certified.log_sink import LogSink

Config = Annotated[Path | None, typer.Option(help="identity folder")]
Allow = Annotated[
    list[str] | None, typer.Option("--allow", help="only these peers, e.g. uid:alice")
]
Loki = Annotated[Path | None, typer.Option(help="JSON file with url, user and passwd of Loki")]


def add_serving(app: typer.Typer) -> None:
    """Add the two commands to ``lclstream certified``."""
    if not any(one.name == "serve" for one in app.registered_commands):
        app.command("serve")(serve)
        app.command("authority")(authority)


def serve(
    application: Annotated[str, typer.Argument(metavar="APP", help="package.module:attribute")],
    url: Annotated[str, typer.Argument(help="where to listen; port 0 takes a free one")] = (
        "https://127.0.0.1:4433"
    ),
    allow: Allow = None,
    loki: Loki = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="no access log on stdout")] = False,
    config: Config = None,
) -> None:
    """Run an ASGI application under mutual TLS, with an access log that names every peer."""
    from airflow_provider_lclstream.certified.contexts import server_ssl_context
    from airflow_provider_lclstream.certified.revocation_follower import RevocationFollower
    from airflow_provider_lclstream.certified.serve import (
        Listener,
        import_application,
        listen,
        make_server,
        run_servers,
    )

    configure_logging()
    folder = _ready(config)
    with _sinks(application, loki, quiet=quiet) as sinks:
        context = server_ssl_context(folder, allowed_peers=allow)
        listener = Listener(
            import_application(application), listen(url, scheme="https"), context, sinks
        )
        server = make_server(listener)
        print_json({"listening": listener.url})
        with RevocationFollower(folder):
            run_servers([(server, listener.address)])


def authority(
    url: Annotated[str, typer.Argument(help="where to renew certificates")] = (
        "https://0.0.0.0:4434"
    ),
    publish: Annotated[
        str | None, typer.Option(help="where everybody can fetch the revocation list: http://…")
    ] = None,
    loki: Loki = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="no access log on stdout")] = False,
    config: Config = None,
) -> None:
    """Serve renewals (mutual TLS) and the revocation list (there, and with --publish in plain)."""
    from airflow_provider_lclstream.certified.authority_app import AuthorityApplication
    from airflow_provider_lclstream.certified.contexts import server_ssl_context
    from airflow_provider_lclstream.certified.serve import (
        Listener,
        listen,
        make_server,
        run_servers,
    )

    configure_logging()
    folder = _ready(config)
    with _sinks("authority", loki, quiet=quiet) as sinks:
        context = server_ssl_context(folder)
        secure = AuthorityApplication(folder, renews=True)
        listeners = [Listener(secure, listen(url, scheme="https"), context, sinks)]
        if publish:
            public = AuthorityApplication(folder, renews=False)
            listeners.append(Listener(public, listen(publish, scheme="http"), None, sinks))
        print_json({"listening": [one.url for one in listeners]})
        run_servers([(make_server(one), one.address) for one in listeners])


def _ready(config: Path | None) -> IdentityFolder:
    from airflow_provider_lclstream.certified.findings import expiry_warnings

    folder = IdentityFolder(config).require()
    for finding in expiry_warnings(folder):
        note(str(finding))
    return folder


@contextlib.contextmanager
def _sinks(application: str, loki: Path | None, *, quiet: bool) -> Generator[list[LogSink]]:
    from airflow_provider_lclstream.certified.log_sink import loki_sink, stream_sink

    sinks = [] if quiet else [stream_sink(sys.stdout)]
    if loki is not None:
        sinks.append(loki_sink(loki, application))
    try:
        yield sinks
    finally:
        for sink in sinks:
            sink.close()
