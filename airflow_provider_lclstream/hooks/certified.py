"""The hook to services under mutual TLS, for tasks (synchronous) and triggers (asynchronous).

Airflow's own HTTP hooks cannot do this: the asynchronous one drops client certificates.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider_lclstream.certified.contexts import Target, client_settings, resolve
from airflow_provider_lclstream.certified.folder import IdentityFolder
from lclstreamer.core.errors import ConfigurationError, LCLStreamError
from lclstreamer.transport.tls import Credential, TlsSettings, client_context

if TYPE_CHECKING:
    import ssl

    import httpx2
    import requests
    from airflow.sdk import Connection


class CertifiedHook(BaseHook):
    """Talk to a service that asks for a certificate.

    The connection (type ``certified``) names the service in ``host`` (with ``port``): an alias of
    the identity folder, or a host. Who we are is said by its extra: ``identity`` names a folder,
    else ``certificate``, ``private_key`` and ``authorities`` hold PEM text, from a secrets
    backend for instance; with none of them the identity folder of this environment counts. Keys
    given as text stay in memory.

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
        self._made: tuple[str, ssl.SSLContext] | None = None

    def ssl_context(self) -> ssl.SSLContext:
        """The context for any client library, made once from the connection."""
        return self._ready()[1]

    @property
    def url(self) -> str:
        """The service's URL, with the alias replaced."""
        return self._ready()[0]

    def get_conn(self) -> httpx2.Client:
        """A synchronous client; paths are relative to the service's URL. Close it after use."""
        from airflow_provider_lclstream.certified.clients import http_client

        url, context = self._ready()
        return http_client(context, base_url=url)

    def get_session(self) -> requests.Session:
        """A `requests` session over the same context; URLs are absolute."""
        from airflow_provider_lclstream.certified.clients import requests_session

        return requests_session(self.ssl_context())

    async def get_async_conn(self) -> httpx2.AsyncClient:
        """An asynchronous client, for triggers; use it in ``async with``."""
        from airflow_provider_lclstream.certified.clients import async_http_client

        if self._made is None:
            self._made = _made_from(await self.aget_connection(self.certified_conn_id))
        url, context = self._made
        return async_http_client(context, base_url=url)

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

    def _ready(self) -> tuple[str, ssl.SSLContext]:
        if self._made is None:
            self._made = _made_from(self.get_connection(self.certified_conn_id))
        return self._made


def _made_from(connection: Connection) -> tuple[str, ssl.SSLContext]:
    """The service's URL and the context to reach it.

    Raises:
        ConfigurationError: the connection names no service, or half an identity.
    """
    if not connection.host:
        raise ConfigurationError(
            f"the connection {connection.conn_id!r} names no service",
            mend="write the service's alias or URL into its host",
        )
    extra: dict[str, Any] = connection.extra_dejson
    if any(extra.get(name) for name in ("certificate", "private_key", "authorities")):
        settings = _settings_from_text(str(connection.conn_id), extra)
        target = Target(_url(connection), None)
    else:
        folder = IdentityFolder(Path(extra["identity"]) if extra.get("identity") else None)
        target = resolve(folder, _url(connection, alias_allowed=True))
        settings = client_settings(folder, target.service)
    return target.url.rstrip("/"), client_context(settings)


def _settings_from_text(conn_id: str, extra: dict[str, Any]) -> TlsSettings:
    missing = [
        name for name in ("certificate", "private_key", "authorities") if not extra.get(name)
    ]
    if missing:
        raise ConfigurationError(
            f"the connection {conn_id!r} lacks {' and '.join(missing)} in its extra",
            mend="give certificate, private_key and authorities as PEM text, or name a folder "
            "in identity",
        )
    passphrase = extra.get("passphrase")
    credential = Credential(
        str(extra["certificate"]),
        str(extra["private_key"]),
        (lambda: str(passphrase)) if passphrase else None,
    )
    return TlsSettings(credential, (str(extra["authorities"]),))


def _url(connection: Connection, *, alias_allowed: bool = False) -> str:
    host = str(connection.host)
    if "://" in host:
        return host
    if connection.port:
        return f"https://{host}:{connection.port}"
    return host if alias_allowed else f"https://{host}"
