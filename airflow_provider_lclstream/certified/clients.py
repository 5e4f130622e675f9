"""HTTP clients that show this identity: httpx2 (sync and async) and requests.

None of them listens to proxy or certificate variables of the environment: those would silently
replace the trust that was pinned for a service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_lclstream.certified.contexts import Target, client_ssl_context
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.trust import TrustedService
from lclstreamer.core.errors import BadInputError, LCLStreamError, TemporaryError, UnavailableError

if TYPE_CHECKING:
    import ssl

    import httpx2
    import requests

TIMEOUT_SECONDS = 30.0
"""How long a client waits for a connection or for the next bytes."""


def http_client(
    context: ssl.SSLContext, *, base_url: str = "", timeout_seconds: float = TIMEOUT_SECONDS
) -> httpx2.Client:
    """A synchronous client over one TLS context."""
    import httpx2

    return httpx2.Client(
        verify=context, base_url=base_url, timeout=timeout_seconds, trust_env=False
    )


def async_http_client(
    context: ssl.SSLContext, *, base_url: str = "", timeout_seconds: float = TIMEOUT_SECONDS
) -> httpx2.AsyncClient:
    """An asynchronous client over one TLS context."""
    import httpx2

    return httpx2.AsyncClient(
        verify=context, base_url=base_url, timeout=timeout_seconds, trust_env=False
    )


def service_client(
    folder: IdentityFolder, service: TrustedService, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> httpx2.Client:
    """A synchronous client of one trusted service; paths are relative to its URL."""
    context = client_ssl_context(folder, service)
    return http_client(context, base_url=service.url, timeout_seconds=timeout_seconds)


def requests_session(context: ssl.SSLContext) -> requests.Session:
    """A `requests` session over one TLS context."""
    import requests
    from requests.adapters import HTTPAdapter

    class ContextAdapter(HTTPAdapter):
        """Hands our context to urllib3, which would otherwise make its own."""

        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options, ssl_context=context)

    session = requests.Session()
    session.trust_env = False  # REQUESTS_CA_BUNDLE would override the pinned authority
    session.mount("https://", ContextAdapter())
    return session


def explain(error: Exception, target: Target) -> LCLStreamError:
    """An error of ours for what httpx2 raised while talking to a target."""
    import httpx2

    text = str(error) or type(error).__name__
    if isinstance(error, httpx2.TimeoutException):
        return TemporaryError(
            "the service did not answer in time",
            mend="try again, or give it longer with --timeout",
            where=target.url,
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return UnavailableError(
            f"the server is not the one that is trusted: {_detail(text)}",
            mend="check the URL; if the service has a new authority, ask for an introduction",
            where=target.url,
        )
    if "PEER_REFUSED" in text:
        return UnavailableError(
            f"the server was refused: {_detail(text)}",
            mend="ask the service's people; its certificate may be revoked",
            where=target.url,
        )
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return BadInputError(text, mend="write the URL like ALIAS/path", where=target.url)
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError):
        return UnavailableError(
            f"the server closed the connection: {_detail(text)}",
            mend="`lclstream certified check` tells whether your certificate is the reason: none, "
            "expired, revoked, or of an authority this server does not accept",
            where=target.url,
        )
    return UnavailableError(
        f"no connection: {_detail(text)}",
        mend="check that the service is running and can be reached from here",
        where=target.url,
    )


def _detail(text: str) -> str:
    return text.removeprefix("[SSL: CERTIFICATE_VERIFY_FAILED] ").split(" (_ssl.c")[0]
