"""HTTP clients for callbacks: over mutual TLS where the host is a known alias, else plain."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lclstreamer.core.errors import LCLStreamError

if TYPE_CHECKING:
    import httpx2

    from airflow_provider_lclstream.certified.contexts import Target
    from airflow_provider_lclstream.certified.folder import IdentityFolder

MAX_ANSWER_BYTES = 2**16


class CallbackClients:
    """One client for each trusted service, and one for everybody else; a context manager."""

    def __init__(self, identity: IdentityFolder | None = None) -> None:
        self._identity = identity
        self._clients: dict[str, httpx2.AsyncClient] = {}
        self._stack = contextlib.AsyncExitStack()

    @classmethod
    def of_this_environment(cls) -> Self:
        """With the identity folder of this environment, where there is one."""
        from airflow_provider_lclstream.certified.folder import IdentityFolder

        try:
            return cls(IdentityFolder().require())
        except LCLStreamError:
            return cls(None)

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """Send one callback and return the status of the answer. Redirects are not followed.

        Of the answer's body only a little is read: it is of no interest, and may never end.

        Raises:
            LCLStreamError: the identity folder is damaged.
            httpx2.HTTPError: the receiver could not be reached, or did not answer.
        """
        target = self._resolve(url)
        client = await self._client(target)
        where = target.url if target else url
        async with client.stream("POST", where, content=body, headers=headers) as answer:
            read = 0
            # Read to its end where that is near, so that the connection can be used again.
            async for piece in answer.aiter_raw():
                read += len(piece)
                if read > MAX_ANSWER_BYTES:
                    break
            return answer.status_code

    def _resolve(self, url: str) -> Target | None:
        from airflow_provider_lclstream.certified.contexts import resolve

        if self._identity is None or not url.lower().startswith("https://"):
            return None
        target = resolve(self._identity, url)
        return target if target.service is not None else None

    async def _client(self, target: Target | None) -> httpx2.AsyncClient:
        import httpx2

        name = target.service.url if target and target.service else ""
        if name not in self._clients:
            verify = True
            if target is not None and self._identity is not None:
                from airflow_provider_lclstream.certified.contexts import client_ssl_context

                verify = client_ssl_context(self._identity, target.service)
            client = httpx2.AsyncClient(
                verify=verify, trust_env=False, headers={"user-agent": "lclstream-psik"}
            )
            self._clients[name] = await self._stack.enter_async_context(client)
        return self._clients[name]
