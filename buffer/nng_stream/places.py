"""Free ports: where a buffer listens, and what it publishes about that."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from lclstreamer.core.errors import OutputError, UnavailableError
from lclstreamer.transport.url import Endpoint

_EVERY_INTERFACE = {"0.0.0.0", "::"}  # noqa: S104 (compared with, not bound to)

Listening = TypeVar("Listening")


def open_on_free_port(
    make: Callable[[Endpoint], Listening], endpoint: Endpoint, ports: tuple[int, int] | None
) -> Listening:
    """Listen on the endpoint; where its port is 0, on a free one of the range.

    Args:
        make: listens at an endpoint, or raises UnavailableError.
        endpoint: where.
        ports: the first and the last port to choose from; None leaves the choice to the system.

    Raises:
        UnavailableError: the port, or the whole range, is taken.
    """
    if endpoint.port or ports is None:
        return make(endpoint)
    choice = list(range(ports[0], ports[1] + 1))
    random.shuffle(choice)  # buffers that start together should not meet at every port
    for port in choice:
        with contextlib.suppress(UnavailableError):
            return make(endpoint.with_port(port))
    raise UnavailableError(
        f"no port of {ports[0]} to {ports[1]} is free on {endpoint.host}",
        mend="widen port_range, or end buffers that are not needed any more",
    )


def published(endpoint: Endpoint, name: str) -> Endpoint:
    """The endpoint as others should dial it."""
    if name:
        return endpoint.with_host(name)
    return endpoint.with_host(socket.getfqdn()) if endpoint.host in _EVERY_INTERFACE else endpoint


def by_protocol(endpoints: Iterable[Endpoint]) -> dict[str, str]:
    """URLs by protocol; a second one of a protocol is called ``nng-2`` and so on."""
    urls: dict[str, str] = {}
    for endpoint in endpoints:
        key: str = endpoint.protocol
        number = 2
        while key in urls:
            key = f"{endpoint.protocol}-{number}"
            number += 1
        urls[key] = str(endpoint)
    return urls


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a file that is complete as soon as it is there.

    Raises:
        OutputError: the folder cannot be written.
    """
    import json

    draft = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}",
            mend="give --directory a folder that can be written",
        ) from error
