"""The client side of the signer: one request, on this machine or through ssh."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
from pathlib import Path
from urllib.parse import quote

from airflow_provider_lclstream.certified.encoding import to_base64url
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.introduction import install, parse_introduction
from airflow_provider_lclstream.certified.key_requests import build_request
from airflow_provider_lclstream.certified.names import person_name
from airflow_provider_lclstream.signer.caller import credentials_of
from airflow_provider_lclstream.signer.server import require_safe_folder
from lclstreamer.core.errors import (
    BadInputError,
    PermissionDeniedError,
    TemporaryError,
    UnavailableError,
)

TIMEOUT_SECONDS = 30.0
_HOST = re.compile(r"[A-Za-z0-9_.@:\[\]-]+")


def request_certificate(
    folder: IdentityFolder,
    path: Path,
    *,
    host: str | None = None,
    signer_uid: int | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Ask a signer for a certificate of one's login name there, and install it.

    Args:
        folder: whose key is to be certified. The key itself goes nowhere.
        path: the signer's socket.
        host: the machine to ask on, through ssh; None asks on this one.
        signer_uid: the user the signer runs as; by default the owner of the socket's folder.
        overwrite: take over the aliases of services that are known otherwise.

    Raises:
        UnavailableError: there is no signer, or ssh failed.
        PermissionDeniedError: the signer refuses, or somebody else listens in its place.
        TemporaryError: too many requests, or no answer in time.
        BadInputError: the reply is no introduction for this key.
    """
    request = build_request(person_name("requester"), folder.require().read_key())
    text = to_base64url(request)
    reply = _through_ssh(host, path, text) if host else _on_this_machine(path, text, signer_uid)
    return install(folder, parse_introduction(reply), overwrite=overwrite)


def _on_this_machine(path: Path, text: str, signer_uid: int | None) -> bytes:
    import httpx2

    try:
        owner = path.parent.stat().st_uid if signer_uid is None else signer_uid
        require_safe_folder(path.parent, (owner,))
        _require_listener(path, owner)
        transport = httpx2.HTTPTransport(uds=str(path))
        with httpx2.Client(transport=transport, timeout=TIMEOUT_SECONDS) as client:
            reply = client.post("http://localhost/sign", params={"cert": text})
    except httpx2.TimeoutException as error:
        raise TemporaryError(
            "the signer did not answer in time", mend="try again", where=str(path)
        ) from error
    except (OSError, httpx2.HTTPError) as error:
        raise UnavailableError(
            f"no signer answers here: {error}",
            mend="check the place with --socket, or ask on a login node with --host",
            where=str(path),
        ) from error
    return _checked(reply.status_code, reply.content, str(path))


def _require_listener(path: Path, owner: int) -> None:
    """The process behind the socket must be the signer's user or root (systemd)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(TIMEOUT_SECONDS)
        probe.connect(str(path))
        uid = credentials_of(probe).uid
    if uid not in {0, owner}:
        raise PermissionDeniedError(
            f"the user id {uid} listens in the signer's place",
            mend="tell the people of this machine; nothing was sent",
            where=str(path),
        )


def _through_ssh(host: str, path: Path, text: str) -> bytes:
    if not _HOST.fullmatch(host) or host.startswith("-"):
        raise BadInputError(f"{host!r} is not a host", mend="write HOST or USER@HOST")
    # The status comes on a line of its own after the body, so that a refusal keeps its reason.
    command = [
        "curl", "--silent", "--show-error", "--max-time", str(int(TIMEOUT_SECONDS)),
        "--write-out", "\n%{http_code}", "--unix-socket", str(path), "--request", "POST",
        "--header", "accept: application/json",
        f"http://localhost/sign?cert={quote(text)}",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            ["ssh", "-o", "BatchMode=yes", host, shlex.join(command)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=2 * TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(
            f"ssh failed: {error}", mend=f"check that `ssh {host}` works", where=host
        ) from error
    body, _, status = done.stdout.rpartition(b"\n")
    if done.returncode != 0 or not status.isdigit() or status == b"000":
        reason = done.stderr.decode(errors="replace").strip()[-300:]
        raise UnavailableError(
            f"no signer answered on {host}: {reason or 'no reason given'}",
            mend=f"check that `ssh {host}` works and that a signer listens on {path} there",
            where=host,
        )
    return _checked(int(status), body, host)


def _checked(status: int, body: bytes, where: str) -> bytes:
    import json

    if status == 200:
        return body
    try:
        problem = json.loads(body)
        detail, mend = str(problem["detail"]), str(problem["mend"])
    except (ValueError, KeyError, TypeError):
        detail, mend = f"the signer answered {status}", "tell the people of that machine"
    kind = {403: PermissionDeniedError, 400: BadInputError, 429: TemporaryError}.get(
        status, UnavailableError
    )
    raise kind(detail, mend=mend, where=where)
