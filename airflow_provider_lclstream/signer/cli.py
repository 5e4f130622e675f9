"""``lclstream signer``: run the signer, ask it, look into its ledger."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from airflow_provider_lclstream.certified.folder import IdentityFolder
from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.logging import configure_logging
from lclstreamer.core.output import print_json
from lclstreamer.core.units import parse_duration

SOCKET_VARIABLE = "LCLSTREAM_SIGNER_SOCKET"
DEFAULT_SOCKET = "/run/lclstream-signer/sock"

app = new_app("Certificates of one's own login name, from a UNIX socket on a login node.")
Config = Annotated[Path | None, typer.Option(help="identity folder")]
Socket = Annotated[
    Path | None, typer.Option("--socket", help=f"[${SOCKET_VARIABLE}, {DEFAULT_SOCKET}]")
]


def signer_command(words: list[str]) -> int:
    """Run ``lclstream signer`` with these words and give its exit code."""
    return run_app(app, words, "lclstream signer")


@app.command()
def serve(
    socket: Socket = None,
    per_minute: Annotated[float, typer.Option(min=1, help="requests of one user")] = 10,
    minimum_uid: Annotated[int, typer.Option(min=1, help="below are system accounts")] = 1000,
    lifetime: Annotated[str, typer.Option(help="of certificates")] = "30d",
    config: Config = None,
) -> None:
    """Run the signer (as an unprivileged user; systemd hands over the socket, or it makes one)."""
    from airflow_provider_lclstream.signer.app import SignerSettings
    from airflow_provider_lclstream.signer.server import serve_signer

    configure_logging()
    duration = timedelta(seconds=parse_duration(lifetime))
    settings = SignerSettings(per_minute, minimum_uid, duration)
    serve_signer(IdentityFolder(config), _socket(socket), settings)


@app.command()
def request(
    host: Annotated[str | None, typer.Option(help="ask there, through ssh")] = None,
    socket: Socket = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace known aliases")] = False,
    config: Config = None,
) -> None:
    """Ask for a certificate of your login name and install it; your key stays where it is."""
    from airflow_provider_lclstream.signer.client import request_certificate

    folder = IdentityFolder(config)
    for path in request_certificate(folder, _socket(socket), host=host, overwrite=overwrite):
        print(path)


@app.command("list")
def list_issued(
    login: Annotated[str | None, typer.Argument(help="only of this login name")] = None,
    config: Config = None,
) -> None:
    """Print the signer's ledger as JSON (for those who run it)."""
    from airflow_provider_lclstream.certified.record import Record

    principal = f"uid:{login}" if login else None
    record = Record(IdentityFolder(config).require().record)
    print_json([one.to_json() for one in record.issues(principal=principal)])


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(help="a serial number, or a login name")],
    reason: Annotated[str, typer.Option()] = "lost",
    config: Config = None,
) -> None:
    """Take back one certificate, or all of a login name (for those who run the signer)."""
    from airflow_provider_lclstream.certified.authority import Authority

    authority = Authority(IdentityFolder(config).require())
    is_serial = bool(authority.record.issues(serial=which.lower()))
    done = authority.revoke(which if is_serial else f"uid:{which}", reason=reason)
    for one in done:
        print(f"revoked {one.serial} of {one.principal}")


def _socket(given: Path | None) -> Path:
    return given or Path(os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)
