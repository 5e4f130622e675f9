"""Who calls over a UNIX socket, as the kernel says."""

from __future__ import annotations

import asyncio
import pwd
import socket
import struct
from dataclasses import dataclass
from typing import Any

from lclstreamer.core.errors import PermissionDeniedError

CALLER = "caller"
"""Where the `Caller` stands in ``scope["state"]``."""

_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True)
class Caller:
    """The process at the other end.

    Attributes:
        pid: its process id when it connected.
        uid: its effective user id when it connected.
        gid: its effective group id when it connected.
    """

    pid: int
    uid: int
    gid: int

    def login_name(self, *, minimum_uid: int = 0) -> str:
        """The login name of this user.

        Raises:
            PermissionDeniedError: it is root or another account of the system, or has no name.
        """
        if self.uid == 0:
            raise PermissionDeniedError(
                "root gets no certificate here",
                mend="ask as the user that the certificate is to name",
            )
        try:
            name = pwd.getpwuid(self.uid).pw_name
        except KeyError as error:
            raise PermissionDeniedError(
                f"the user id {self.uid} has no login name on this machine",
                mend="log in with an account that this machine knows",
            ) from error
        if self.uid < minimum_uid:
            raise PermissionDeniedError(
                f"{name} is an account of the system (user id {self.uid} < {minimum_uid})",
                mend="ask as a person, or let the signer's people lower --minimum-uid",
            )
        return name


def credentials_of(connection: Any) -> Caller:
    """The credentials of the process that connected to (or listens on) the other end."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Caller(*_CREDENTIALS.unpack(raw))


def caller_facts(transport: asyncio.BaseTransport) -> dict[str, Any]:
    """What every request of a connection carries in ``scope["state"]``."""
    return {CALLER: credentials_of(transport.get_extra_info("socket"))}
