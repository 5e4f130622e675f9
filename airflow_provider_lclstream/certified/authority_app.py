"""The authority as a service: renewals over mutual TLS, the revocation list for everybody."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from airflow_provider_lclstream.certified.asgi import (
    Receive,
    Scope,
    Send,
    peer_in,
    read_body,
    send_bytes,
    send_json,
    send_problem,
)
from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.encoding import MAXIMUM_TEXT_BYTES, to_pem
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.key_requests import read_request
from lclstreamer.core.errors import BadInputError, LCLStreamError, PermissionDeniedError

logger = logging.getLogger(__name__)

LOOK_AT_LIST_SECONDS = 600.0
STATUS_OF_ERRORS: dict[type[LCLStreamError], int] = {
    BadInputError: 400,
    PermissionDeniedError: 403,
}
"""HTTP status by the class of the error; any other is 503."""


class AuthorityApplication:
    """``GET /revoked.crl``, ``GET /authority.crt`` and, over mutual TLS, ``POST /renew``.

    The body of a renewal is a request (PEM) signed by the key to be certified; the reply is an
    introduction. Every call reads the policy and list anew, so that changes need no restart.
    """

    def __init__(self, folder: IdentityFolder, *, renews: bool) -> None:
        self._folder = folder
        self._renews = renews
        Authority(folder)  # a wrong folder or policy is told at the start, not at the first call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or keep the list signed while the server runs."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, self._keep_list_fresh())
            return
        if scope["type"] != "http":
            return
        routes: dict[tuple[str, str], Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            ("GET", "/revoked.crl"): self._list,
            ("GET", "/authority.crt"): self._certificate,
        }
        if self._renews:
            routes["POST", "/renew"] = self._renew
        route = routes.get((scope["method"], scope["path"]))
        try:
            if route is None:
                missing = BadInputError(
                    f"{scope['method']} {scope['path']} is not offered here",
                    mend="ask for " + ", ".join(f"{one} {path}" for one, path in routes),
                )
                await send_problem(send, 404, missing)
            else:
                await route(scope, receive, send)
        except LCLStreamError as error:
            await send_problem(send, STATUS_OF_ERRORS.get(type(error), 503), error)

    async def _list(self, scope: Scope, _receive: Receive, send: Send) -> None:
        pem = await asyncio.to_thread(_current_list, self._folder)
        der = x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER)
        etag = f'"{hashlib.sha256(der).hexdigest()[:32]}"'.encode()
        if (b"if-none-match", etag) in [tuple(pair) for pair in scope["headers"]]:
            await send_bytes(send, 304, b"", "application/pkix-crl", (b"etag", etag))
            return
        await send_bytes(send, 200, der, "application/pkix-crl", (b"etag", etag))

    async def _certificate(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        pem = to_pem(self._folder.read_authority()).encode()
        await send_bytes(send, 200, pem, "application/x-pem-file")

    async def _renew(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = peer_in(scope)
        request = read_request(await read_body(receive, MAXIMUM_TEXT_BYTES))
        authority = Authority(self._folder)
        introduction = await asyncio.to_thread(authority.renew, peer, request)
        logger.info("certificate renewed", extra={"peer": peer.principal, "serial": peer.serial})
        await send_json(send, 200, introduction.to_json())

    @contextlib.asynccontextmanager
    async def _keep_list_fresh(self) -> AsyncGenerator[None]:
        task = asyncio.create_task(self._sign_again_in_time())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _sign_again_in_time(self) -> None:
        while True:
            try:
                await asyncio.to_thread(_current_list, self._folder)
            except (LCLStreamError, OSError) as error:
                logger.warning("revocation list not signed", extra={"why": str(error)})
            await asyncio.sleep(LOOK_AT_LIST_SECONDS)


def _current_list(folder: IdentityFolder) -> bytes:
    """The list as it lies in the folder, signed again when a seventh of its time is over."""
    authority = Authority(folder)
    try:
        pem = authority.list_file.read_bytes()
        crl = x509.load_pem_x509_crl(pem)
    except (OSError, ValueError):
        return authority.sign_list()
    age = datetime.now(UTC) - crl.last_update_utc
    if age > timedelta(days=authority.policy.revocation_list_days) / 7:
        return authority.sign_list()
    return pem


async def _lifespan(
    receive: Receive, send: Send, running: contextlib.AbstractAsyncContextManager[None]
) -> None:
    await receive()
    async with running:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
