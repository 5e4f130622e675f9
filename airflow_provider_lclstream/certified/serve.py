"""Serve ASGI applications under mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_lclstream.certified.access_log import AccessLayer
from airflow_provider_lclstream.certified.asgi import Application, http_protocol
from airflow_provider_lclstream.certified.log_sink import LogSink
from lclstreamer.core.errors import (
    BadInputError,
    ConfigurationError,
    MissingDependencyError,
    UnavailableError,
)

if TYPE_CHECKING:
    import uvicorn

GRACE_SECONDS = 10
"""How long requests in progress may take at the end."""

BACKLOG_CONNECTIONS = 1024


@dataclass(frozen=True)
class Listener:
    """One application on one address.

    Attributes:
        app: the ASGI application.
        address: the socket it listens on.
        context: mutual TLS; None serves plain HTTP, which only public facts may be.
        sinks: where the access log goes.
    """

    app: Application
    address: socket.socket
    context: ssl.SSLContext | None
    sinks: Sequence[LogSink] = ()

    @property
    def url(self) -> str:
        """Where it listens, with the port that was really taken."""
        host, port = self.address.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.context else 'http'}://{host}:{port}"


def listen(url: str, *, scheme: str) -> socket.socket:
    """A listening socket for ``scheme://host:port``; port 0 takes a free one.

    Raises:
        BadInputError: the URL is not of that form.
        UnavailableError: the address cannot be had.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme != scheme or not host or port is None or parts.path not in {"", "/"}:
        raise BadInputError(
            f"{url!r} is no address to listen on", mend=f"write it like {scheme}://0.0.0.0:4433"
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG_CONNECTIONS)
        # Accepted sockets inherit it. asyncio sets it only where it made the socket itself, and
        # without it the second part of a short reply waits 40 ms for the first to be confirmed.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise UnavailableError(
            f"cannot listen on {url}: {error.strerror}", mend="choose another address or port"
        ) from error


def import_application(target: str) -> Application:
    """Import ``package.module:attribute``; the current folder is searched too.

    Raises:
        ConfigurationError: there is no such application.
    """
    _require_uvicorn()
    from uvicorn.importer import ImportFromStringError, import_from_string

    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return import_from_string(target)
    except ImportFromStringError as error:
        raise ConfigurationError(
            f"there is no application {target!r}: {error}",
            mend="write it like package.module:app",
        ) from error


def _require_uvicorn() -> None:
    if importlib.util.find_spec("uvicorn") is None:
        raise MissingDependencyError(
            "the Python package 'uvicorn' is not installed",
            mend="install the extra that has it: pip install 'airflow-provider-lclstream[api]'",
        )


def make_server(
    listener: Listener, *, protocol: type[asyncio.Protocol] | None = None
) -> uvicorn.Server:
    """A uvicorn server for one listener, not yet started."""
    _require_uvicorn()
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves the signals to `run_servers`, which stops several servers and then goes on."""

        def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
            return contextlib.nullcontext()

    config = uvicorn.Config(
        AccessLayer(listener.app, listener.context, listener.sinks),
        http=protocol or http_protocol(),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who calls is what TLS says, never what a header says
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    config.load()
    # Not through uvicorn's own options: those read the files once and never look again.
    config.ssl = listener.context
    return Server(config)


def run_servers(servers: Sequence[tuple[uvicorn.Server, socket.socket]]) -> None:
    """Run servers in one event loop until SIGTERM or SIGINT, then let requests finish."""
    asyncio.run(serve_all(servers))


async def serve_all(servers: Sequence[tuple[uvicorn.Server, socket.socket]]) -> None:
    """The same inside a running event loop."""

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only the main thread may handle signals; elsewhere the caller sets should_exit.
        with contextlib.suppress(RuntimeError, ValueError):
            loop.add_signal_handler(number, stop)
    await asyncio.gather(*(server.serve([address]) for server, address in servers))
