"""From an Airflow connection to a service: where it is, and who we are to it.

Shared by every connection that may name a service: the type ``certified``, and ``psik`` with a
host. Its extra says who we are: ``identity`` names a folder, else ``certificate``,
``private_key`` and ``authorities`` hold PEM text, from a secrets backend for instance; with none
of them the identity folder of this environment counts. Keys given as text stay in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_lclstream.certified.contexts import Target, client_settings, resolve
from airflow_provider_lclstream.certified.folder import IdentityFolder
from lclstreamer.core.errors import ConfigurationError
from lclstreamer.transport.tls import Credential, TlsSettings, client_context

if TYPE_CHECKING:
    import ssl

    import httpx2
    from airflow.sdk import Connection


@dataclass(frozen=True)
class ServiceAddress:
    """A service and the way to it.

    Attributes:
        url: its URL, with the alias replaced.
        context: what we show and whom we trust.
    """

    url: str
    context: ssl.SSLContext

    def client(self) -> httpx2.Client:
        """A synchronous client; paths are relative to the URL. Close it after use."""
        from airflow_provider_lclstream.certified.clients import http_client

        return http_client(self.context, base_url=self.url)

    def async_client(self) -> httpx2.AsyncClient:
        """An asynchronous client, for triggers. Close it after use."""
        from airflow_provider_lclstream.certified.clients import async_http_client

        return async_http_client(self.context, base_url=self.url)


def service_of(connection: Connection) -> ServiceAddress:
    """The service that a connection names. Reads files; may take some milliseconds.

    Raises:
        ConfigurationError: the connection names no service, or half an identity.
    """
    if not connection.host:
        raise ConfigurationError(
            f"the connection {connection.conn_id!r} names no service",
            mend="write the service's alias or URL into its host",
        )
    extra: dict[str, Any] = connection.extra_dejson
    url = url_of(connection)
    if any(extra.get(name) for name in ("certificate", "private_key", "authorities")):
        settings = _settings_from_text(str(connection.conn_id), extra)
        target = Target(url if "://" in url else f"https://{url}", None)
    else:
        folder = IdentityFolder(Path(extra["identity"]) if extra.get("identity") else None)
        target = resolve(folder, url)
        settings = client_settings(folder, target.service)
    if not target.url.startswith("https://"):
        raise ConfigurationError(
            f"the connection {connection.conn_id!r} leads to {target.url}, without TLS",
            mend="write the service's alias or its https:// URL into its host",
        )
    return ServiceAddress(target.url.rstrip("/"), client_context(settings))


def url_of(connection: Connection) -> str:
    """What a connection's host and port say: a URL, or an alias or host alone."""
    host = str(connection.host).rstrip("/")
    if connection.port and urlsplit(host if "://" in host else f"//{host}").port is None:
        host = f"{host}:{connection.port}"
        return host if "://" in host else f"https://{host}"
    return host


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
