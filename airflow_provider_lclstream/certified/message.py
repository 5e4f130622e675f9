"""One HTTP message under mutual TLS: what `lclstream message` does, for programs too."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_lclstream.certified.clients import explain, http_client
from airflow_provider_lclstream.certified.contexts import Target, client_ssl_context, resolve
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.revocation_follower import FRESH_SECONDS, fetch_lists
from lclstreamer.core.errors import BadInputError, OutputError
from lclstreamer.core.output import note
from lclstreamer.core.units import format_bytes

if TYPE_CHECKING:
    import httpx2

HTTP_ERROR_EXIT = 22
"""The exit code for a reply that is not 2xx, as ``curl -f`` has it."""

PRETTY_LIMIT_BYTES = 64 * 2**20
PROGRESS_SECONDS = 0.5


@dataclass(frozen=True)
class Call:
    """What to send.

    Attributes:
        url: ``ALIAS/path``, ``https://ALIAS/path`` or ``https://host:port/path``.
        method: the HTTP method; None means POST with a body and GET without.
        body: the body, or None.
        content_type: of the body.
        headers: further headers.
        timeout_seconds: how long to wait for a connection and between bytes.
    """

    url: str
    method: str | None = None
    body: bytes | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_seconds: float = 30.0


@contextlib.contextmanager
def send(folder: IdentityFolder, call: Call) -> Generator[httpx2.Response]:
    """Send a message and give the reply, whose body is still to be read.

    Raises:
        BadInputError: the URL or a header is malformed, or the alias is not known.
        UnavailableError: no connection, or one side refused the other.
        TemporaryError: no answer in time.
    """
    import httpx2

    target = resolve(folder, call.url)
    for problem in fetch_lists(folder, older_than_seconds=FRESH_SECONDS):
        note(f"warning: {problem}")
    context = client_ssl_context(folder, target.service)
    headers = {"User-Agent": "lclstream-message", "Accept": "*/*", **call.headers}
    if call.body is not None:
        headers.setdefault("Content-Type", call.content_type)
    method = call.method or ("GET" if call.body is None else "POST")
    try:
        with (
            http_client(context, timeout_seconds=call.timeout_seconds) as client,
            client.stream(method, target.url, content=call.body, headers=headers) as reply,
        ):
            yield reply
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise explain(error, target) from error


def resolved(folder: IdentityFolder, url: str) -> Target:
    """Where a URL or alias leads."""
    return resolve(folder, url)


def parse_headers(lines: list[str]) -> dict[str, str]:
    """Read ``Name: value`` lines.

    Raises:
        BadInputError: a line has no colon, or holds a line break.
    """
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or "\n" in line or "\r" in line:
            raise BadInputError(f"{line!r} is not a header", mend='write it like -H "Name: value"')
        headers[name.strip()] = value.strip()
    return headers


def read_json_file(path: Path) -> bytes:
    """A JSON file as a body.

    Raises:
        BadInputError: it cannot be read or is not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"this is no JSON file: {error}", mend="give a readable JSON file", where=str(path)
        ) from error
    return text.encode()


def read_yaml_file(path: Path) -> bytes:
    """A YAML file as a JSON body.

    Raises:
        BadInputError: it cannot be read or has no form in JSON.
        ConfigurationError: it is not YAML.
    """
    from lclstreamer.core.config_file import parse_document

    try:
        return json.dumps(parse_document(path.read_text("utf-8"), name=str(path)).data).encode()
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"this YAML file cannot be sent: {error}",
            mend="give a readable YAML file with text, numbers, lists and mappings",
            where=str(path),
        ) from error


def save(reply: httpx2.Response, path: Path) -> int:
    """Stream a reply's body to a file, whole or not at all, and give its length in bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as stream:
            count = _copy(reply, stream)
        draft.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write the file: {error.strerror}",
            mend="check the folder's permissions and free space",
            where=str(path),
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return count


def _copy(reply: httpx2.Response, stream: IO[bytes]) -> int:
    expected = reply.headers.get("Content-Length", "")
    total = f" of {format_bytes(int(expected))}" if expected.isdigit() else ""
    count, shown = 0, time.monotonic()
    for chunk in reply.iter_bytes():
        stream.write(chunk)
        count += len(chunk)
        if sys.stderr.isatty() and time.monotonic() - shown > PROGRESS_SECONDS:
            note(f"{format_bytes(count)}{total}")
            shown = time.monotonic()
    return count


def pretty(body: bytes) -> bytes:
    """JSON with line breaks and spaces; anything else as it is."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        return body
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
