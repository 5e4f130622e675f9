"""The caller of a request, from mutual TLS; a developer's loopback service may name one."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from lclstreamer.core.errors import PermissionDeniedError


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller whose identity has been verified.

    Attributes:
        owner: the name that rights and jobs belong to.
        names: all names that a policy may know them by; the owner is the first.
    """

    owner: str
    names: tuple[str, ...]


def named(owner: str) -> Caller:
    """A caller known by one name."""
    return Caller(owner, (owner,))


def caller_of(scope: MutableMapping[str, Any], *, loopback_caller: str | None) -> Caller:
    """The caller of a request.

    Args:
        scope: the ASGI scope.
        loopback_caller: who plain requests from this machine come from; None refuses them.

    Raises:
        PermissionDeniedError: the request carries no identity.
    """
    peer = scope.get("state", {}).get("peer")
    if peer is not None:
        return Caller(peer.owner, (peer.owner, peer.principal))
    client = scope.get("client")
    if loopback_caller is not None and client and client[0] in {"127.0.0.1", "::1"}:
        return named(loopback_caller)
    raise PermissionDeniedError(
        "the request carries no identity", mend="connect with a certificate over TLS"
    )
