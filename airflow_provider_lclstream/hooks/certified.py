"""The hook to services under mutual TLS, for tasks (synchronous) and triggers (asynchronous).

Airflow's own HTTP hooks cannot do this: the asynchronous one drops client certificates.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from airflow_provider_lclstream.certified.contexts import Target
from airflow_provider_lclstream.hooks.service import ServiceAddress, service_of
from lclstreamer.core.errors import LCLStreamError

if TYPE_CHECKING:
    import ssl

    import httpx2
    import requests


class CertifiedHook(BaseHook):
    """Talk to a service that asks for a certificate.

    The connection (type ``certified``) names the service in ``host`` (with ``port``): an alias of
    the identity folder, or a host. Who we are is said by its extra; see
    `airflow_provider_lclstream.hooks.service`.

    Args:
        certified_conn_id: the Airflow connection.
    """

    conn_name_attr = "certified_conn_id"
    default_conn_name = "certified_default"
    conn_type = "certified"
    hook_name = "Service under mutual TLS (certified)"

    def __init__(self, certified_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.certified_conn_id = certified_conn_id
        self._address: ServiceAddress | None = None

    def ssl_context(self) -> ssl.SSLContext:
        """The context for any client library, made once from the connection."""
        return self._ready().context

    @property
    def url(self) -> str:
        """The service's URL, with the alias replaced."""
        return self._ready().url

    def get_conn(self) -> httpx2.Client:
        """A synchronous client; paths are relative to the service's URL. Close it after use."""
        return self._ready().client()

    def get_session(self) -> requests.Session:
        """A `requests` session over the same context; URLs are absolute."""
        from airflow_provider_lclstream.certified.clients import requests_session

        return requests_session(self.ssl_context())

    async def get_async_conn(self) -> httpx2.AsyncClient:
        """An asynchronous client, for triggers; use it in ``async with``."""
        if self._address is None:
            connection = await self.aget_connection(self.certified_conn_id)
            self._address = await asyncio.to_thread(service_of, connection)
        return self._address.async_client()

    def test_connection(self) -> tuple[bool, str]:
        """Connect and say who answers, for Airflow's "Test" button."""
        import httpx2

        from airflow_provider_lclstream.certified.clients import explain

        try:
            with self.get_conn() as client:
                reply = client.get("/")
        except LCLStreamError as error:
            return False, str(error)
        except httpx2.HTTPError as error:
            return False, str(explain(error, Target(self.url, None)))
        return True, f"{self.url} accepts this identity and answered {reply.status_code}"

    def _ready(self) -> ServiceAddress:
        if self._address is None:
            self._address = service_of(self.get_connection(self.certified_conn_id))
        return self._address
