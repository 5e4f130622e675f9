"""``lclstream psik serve``: the service, under mutual TLS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from airflow_provider_lclstream.certified.asgi import Application
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.psik.config import find_config
from airflow_provider_lclstream.psik_api.settings import ServiceConfig
from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.errors import ConfigurationError
from lclstreamer.core.logging import configure_logging
from lclstreamer.core.output import note, print_json

app = new_app()


def serve_command(words: list[str]) -> int:
    """Run ``lclstream psik serve`` with the words after it."""
    return run_app(app, words, "lclstream psik serve")


@app.command()
def serve(
    url: Annotated[str, typer.Argument(help="Where to listen; port 0 takes a free one.")] = (
        "https://127.0.0.1:4433"
    ),
    *,
    config: Annotated[
        Path | None,
        typer.Option(help="Backends and policy; else as for the other verbs."),
    ] = None,
    identity: Annotated[
        Path | None, typer.Option(help="Who serves; by default this environment's.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether it could serve, and what is wrong.")
    ] = False,
    loopback_caller: Annotated[
        str | None,
        typer.Option(help="For developers: plain HTTP on loopback, every request from this one."),
    ] = None,
) -> None:
    """Serve jobs over HTTP to everybody with a trusted certificate, as the policy says."""
    from airflow_provider_lclstream.psik_api.app import create_app

    configure_logging("WARNING")
    settings = find_config(config, ServiceConfig)
    if check:
        _check(settings, None if loopback_caller else IdentityFolder(identity))
        return
    application = create_app(settings, loopback_caller=loopback_caller)
    if loopback_caller is None:
        _serve_over_tls(application, url, identity)
    else:
        _serve_on_loopback(application, url)


def _check(settings: ServiceConfig, folder: IdentityFolder | None) -> None:
    """Print the backends and what is wrong.

    Raises:
        ConfigurationError: something is.
    """
    from airflow_provider_lclstream.certified.contexts import server_ssl_context
    from airflow_provider_lclstream.psik_api.check import problems_of

    for name, backend in sorted(settings.backends.items()):
        sys.stdout.write(
            f"{name:<20} {backend.type:<12} {backend.queue_name or ''}".rstrip() + "\n"
        )
    problems = problems_of(settings)
    for problem in problems:
        note(problem)
    if folder is not None:
        server_ssl_context(folder.require())
    if problems:
        raise ConfigurationError(
            f"{len(problems)} mistake{'s' if len(problems) > 1 else ''}",
            mend="mend the places named above",
        )
    note("nothing is wrong")


def _serve_over_tls(application: Application, url: str, identity: Path | None) -> None:
    from airflow_provider_lclstream.certified.contexts import server_ssl_context
    from airflow_provider_lclstream.certified.log_sink import stream_sink
    from airflow_provider_lclstream.certified.revocation_follower import RevocationFollower
    from airflow_provider_lclstream.certified.serve import (
        Listener,
        listen,
        make_server,
        run_servers,
    )

    folder = IdentityFolder(identity).require()
    context = server_ssl_context(folder)
    sink = stream_sink(sys.stdout)
    try:
        listener = Listener(application, listen(url, scheme="https"), context, [sink])
        print_json({"listening": listener.url})
        with RevocationFollower(folder):
            run_servers([(make_server(listener), listener.address)])
    finally:
        sink.close()


def _serve_on_loopback(application: Application, url: str) -> None:
    from airflow_provider_lclstream.certified.serve import (
        Listener,
        listen,
        make_server,
        run_servers,
    )

    if urlsplit(url).hostname not in {"127.0.0.1", "::1"}:
        raise ConfigurationError(
            f"{url} is not on loopback", mend="without TLS listen on http://127.0.0.1:PORT"
        )
    listener = Listener(application, listen(url, scheme="http"), None)
    print_json({"listening": listener.url})
    run_servers([(make_server(listener), listener.address)])
