"""The signer as an ASGI application."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qs

from airflow_provider_lclstream.certified.asgi import (
    Receive,
    Scope,
    Send,
    read_body,
    send_bytes,
    send_json,
    send_problem,
)
from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.certificates import Grant
from airflow_provider_lclstream.certified.encoding import MAXIMUM_TEXT_BYTES
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.introduction import Introduction
from airflow_provider_lclstream.certified.key_requests import read_request
from airflow_provider_lclstream.certified.names import person_name
from airflow_provider_lclstream.certified.record import Issue
from airflow_provider_lclstream.signer.caller import CALLER, Caller
from airflow_provider_lclstream.signer.rate_limit import RateLimit
from lclstreamer.core.errors import (
    BadInputError,
    LCLStreamError,
    PermissionDeniedError,
    TemporaryError,
)

logger = logging.getLogger(__name__)

STATUS_OF_ERRORS: dict[type[LCLStreamError], int] = {
    BadInputError: 400,
    PermissionDeniedError: 403,
    TemporaryError: 429,
}
"""HTTP status by the class of the error; any other is 503."""

Route = Callable[[Caller, Scope, Receive], Awaitable[object]]


@dataclass(frozen=True)
class SignerSettings:
    """The rules of a signer.

    Attributes:
        per_minute: certificates a user may ask for in a minute.
        minimum_uid: user ids below this are accounts of the system and get none.
        lifetime: how long certificates are valid; clamped to the authority's policy.
    """

    per_minute: float = 10
    minimum_uid: int = 1000
    lifetime: timedelta = timedelta(days=30)


class SignerApplication:
    """``POST /sign?cert=…``, ``GET /issued``, ``GET /status?serial=…``, ``POST /revoke?serial=…``.

    Callers see and revoke what was issued to their own login name, and nothing else.
    """

    def __init__(self, folder: IdentityFolder, settings: SignerSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._limit = RateLimit(settings.per_minute)
        self._routes: dict[tuple[str, str], Route] = {
            ("POST", "/sign"): self._sign,
            ("GET", "/issued"): self._issued,
            ("GET", "/status"): self._status,
            ("POST", "/revoke"): self._revoke,
        }
        Authority(folder)  # a wrong folder or policy is told at the start, not at the first call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        caller: Caller = scope["state"][CALLER]
        route = self._routes.get((scope["method"], scope["path"]))
        try:
            if route is None:
                missing = BadInputError(
                    f"{scope['method']} {scope['path']} is not offered here",
                    mend="ask for POST /sign?cert=…",
                )
                await send_problem(send, 404, missing)
            elif wait := self._limit.wait_seconds(caller.uid):
                await self._send_too_many(send, wait)
            else:
                await send_json(send, 200, await route(caller, scope, receive))
        except LCLStreamError as error:
            logger.warning("refused", extra={"uid": caller.uid, "why": error.problem})
            await send_problem(send, STATUS_OF_ERRORS.get(type(error), 503), error)

    async def _send_too_many(self, send: Send, wait_seconds: float) -> None:
        error = TemporaryError(
            f"more than {self._settings.per_minute:g} requests in a minute",
            mend=f"ask again in {math.ceil(wait_seconds)} seconds",
        )
        body = json.dumps({**error.to_problem(), "status": 429}).encode()
        after = (b"retry-after", str(math.ceil(wait_seconds)).encode())
        await send_bytes(send, 429, body, "application/problem+json", after)

    async def _sign(self, caller: Caller, scope: Scope, receive: Receive) -> object:
        text = _query(scope, "cert").encode() or await read_body(receive, MAXIMUM_TEXT_BYTES)
        introduction = await asyncio.to_thread(self._issue, text, caller)
        return introduction.to_json()

    def _issue(self, text: bytes, caller: Caller) -> Introduction:
        # In a thread: a machine may have to ask a directory on the network for the name.
        name = caller.login_name(minimum_uid=self._settings.minimum_uid)
        grant = Grant("person", person_name(name, name), "client", self._settings.lifetime)
        introduction = Authority(self._folder).issue(
            read_request(text),
            grant,
            requested_by=f"uid {caller.uid} pid {caller.pid}",
            accept_unproven=True,  # the contract sends certificates; the kernel proves the name
            several_keys=True,
        )
        logger.info("certificate issued", extra={"login": name, "uid": caller.uid})
        return introduction

    async def _issued(self, caller: Caller, _scope: Scope, _receive: Receive) -> object:
        return [one.to_json() for one in await asyncio.to_thread(self._own, caller)]

    async def _status(self, caller: Caller, scope: Scope, _receive: Receive) -> object:
        serial = _query(scope, "serial").lower()
        for one in await asyncio.to_thread(self._own, caller):
            if one.serial == serial:
                return one.to_json()
        raise _not_yours(serial)

    async def _revoke(self, caller: Caller, scope: Scope, _receive: Receive) -> object:
        serial = _query(scope, "serial").lower()
        if serial not in {one.serial for one in await asyncio.to_thread(self._own, caller)}:
            raise _not_yours(serial)
        authority = Authority(self._folder)
        done = await asyncio.to_thread(authority.revoke, serial, reason="revoked by its holder")
        return [one.to_json() for one in done]

    def _own(self, caller: Caller) -> list[Issue]:
        name = caller.login_name(minimum_uid=self._settings.minimum_uid)
        return Authority(self._folder).record.issues(principal=f"uid:{name}")


def _query(scope: Scope, name: str) -> str:
    values = parse_qs(scope["query_string"].decode("latin-1")).get(name, [""])
    return values[0]


def _not_yours(serial: str) -> BadInputError:
    return BadInputError(
        f"no certificate {serial!r} was issued to you", mend="GET /issued lists yours"
    )
