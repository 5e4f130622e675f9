"""Where the signer listens: a socket handed over by systemd, or one of its own in a safe folder."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from airflow_provider_lclstream.certified.asgi import http_protocol
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.serve import Listener, make_server, run_servers
from airflow_provider_lclstream.signer.app import SignerApplication, SignerSettings
from airflow_provider_lclstream.signer.caller import caller_facts
from lclstreamer.core.errors import ConfigurationError, PermissionDeniedError, UnavailableError
from lclstreamer.core.output import print_json

FIRST_ACTIVATED_DESCRIPTOR = 3
BACKLOG_CONNECTIONS = 256


def serve_signer(folder: IdentityFolder, path: Path, settings: SignerSettings) -> None:
    """Run the signer until SIGTERM or SIGINT.

    Raises:
        PermissionDeniedError: it runs as root, or others could replace its socket.
        ConfigurationError: there is no authority in the folder.
        UnavailableError: the socket is in use.
    """
    if os.geteuid() == 0:
        raise PermissionDeniedError(
            "the signer does not run as root",
            mend="run it as a user of its own; deploy/systemd has the units",
        )
    app = SignerApplication(folder.require(), settings)
    listening = activated_socket() or own_socket(path)
    # No access log: the signer itself logs who asked for what, by user id.
    server = make_server(Listener(app, listening, None), protocol=http_protocol(caller_facts))
    print_json({"listening": listening.getsockname()})
    run_servers([(server, listening)])


def activated_socket() -> socket.socket | None:
    """The socket that systemd hands over (``LISTEN_FDS``), or None.

    Raises:
        ConfigurationError: more than one is handed over, or it is not a UNIX stream socket.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if os.environ.get("LISTEN_FDS") != "1":
        raise ConfigurationError(
            "systemd hands over more than one socket", mend="give the .socket unit one ListenStream"
        )
    listening = socket.socket(fileno=FIRST_ACTIVATED_DESCRIPTOR)
    if listening.family != socket.AF_UNIX or listening.type != socket.SOCK_STREAM:
        raise ConfigurationError(
            "the socket handed over by systemd is not a UNIX stream socket",
            mend="let ListenStream= name a path",
        )
    return listening


def own_socket(path: Path) -> socket.socket:
    """A listening socket that everybody may connect to and nobody else can replace.

    Raises:
        PermissionDeniedError: others could replace the socket.
        UnavailableError: another signer listens there, or the place cannot be used.
    """
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise UnavailableError(
            f"the folder of the socket cannot be made: {error.strerror}",
            mend="make it as root for the signer's user, or choose another with --socket",
            where=str(path.parent),
        ) from error
    require_safe_folder(path.parent, (0, os.geteuid()))
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(0o666)
        listening.listen(BACKLOG_CONNECTIONS)
    except OSError as error:
        listening.close()
        raise UnavailableError(
            f"cannot listen: {error.strerror or error}",
            mend="check the folder's permissions, or choose another place with --socket",
            where=str(path),
        ) from error
    return listening


def require_safe_folder(folder: Path, owners: tuple[int, ...]) -> None:
    """Refuse a folder in which others could put a socket of their own.

    Raises:
        PermissionDeniedError: it, or a folder above it, is another's or open to everybody.
        UnavailableError: it does not exist.
    """
    real = folder.resolve()
    for place in (real, *real.parents):
        try:
            status = place.stat()
        except OSError as error:
            raise UnavailableError(
                f"the folder of the socket cannot be looked at: {error.strerror}",
                mend="check that a signer runs on this machine",
                where=str(place),
            ) from error
        open_to_all = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        innermost = place == real
        if (
            open_to_all
            or (innermost and status.st_mode & 0o022)
            or (status.st_uid not in {0, *owners})
        ):
            raise PermissionDeniedError(
                f"others could replace the socket in {place}",
                mend="use a folder of the signer's own, such as /run/lclstream-signer",
                where=str(folder),
            )


def _remove_stale(path: Path) -> None:
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise UnavailableError(
                "another signer listens here",
                mend="stop it, or choose another place with --socket",
                where=str(path),
            )
    path.unlink()
