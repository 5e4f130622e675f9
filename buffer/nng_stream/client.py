"""Asks a running buffer through its HTTP interface."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

from lclstreamer.core.errors import BadInputError, UnavailableError
from nng_stream.forwarder import ENDPOINTS_FILE

_TIMEOUT_SECONDS = 10.0


def ask(place: str, path: str, method: str = "GET") -> bytes:
    """The body of the answer.

    Args:
        place: the admin URL, or the buffer's directory.
        path: e.g. ``/status``.
        method: ``GET`` or ``POST``.

    Raises:
        BadInputError: the place is neither.
        UnavailableError: no buffer answers there.
    """
    url = urlsplit(place if place.startswith("http://") else _admin_url(Path(place)))
    connection = http.client.HTTPConnection(url.netloc, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(
            f"no buffer answers at {url.geturl()}: {error}",
            mend="it may have ended: look for ledger.json in its directory",
        ) from error
    finally:
        connection.close()
    if answer.status >= 300:
        raise UnavailableError(
            f"the buffer at {url.geturl()} answered {answer.status} to {path}",
            mend="use the same version of this package on both sides",
        )
    return body


def _admin_url(directory: Path) -> str:
    try:
        document = json.loads((directory / ENDPOINTS_FILE).read_text(encoding="utf-8"))
        return str(document["admin"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{directory} is neither an admin URL nor the directory of a buffer",
            mend=f"give the directory that holds {ENDPOINTS_FILE}, or http://127.0.0.1:PORT",
        ) from error
