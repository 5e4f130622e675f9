"""From a URL, or an alias of an identity folder, to where a service is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lclstreamer.core.errors import BadInputError, ConfigurationError

if TYPE_CHECKING:
    import ssl

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class ServicePlace:
    """How a service is reached.

    Attributes:
        name: as it was written, as a URL, for messages.
        url: its URL, with the alias replaced.
        verify: what to show and trust; False for plain http on this machine.
    """

    name: str
    url: str
    verify: ssl.SSLContext | bool


def service_place(text: str, identity: Path | str | None = None) -> ServicePlace:
    """Find a service.

    Args:
        text: ``https://host:port``, ``https://ALIAS``, an alias; ``http://`` on this machine only.
        identity: the identity folder; by default this environment's.

    Raises:
        ConfigurationError: plain http would leave this machine, or there is no identity.
        BadInputError: it is not the URL of a service.
    """
    if text.startswith("http://"):
        return ServicePlace(text, _plain(text), verify=False)
    from airflow_provider_lclstream.certified.contexts import client_ssl_context, resolve
    from airflow_provider_lclstream.certified.folder import IdentityFolder

    folder = IdentityFolder(identity).require()
    target = resolve(folder, text)
    name = text if "://" in text else f"https://{text}"
    return ServicePlace(name, target.url.rstrip("/"), client_ssl_context(folder, target.service))


def _plain(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadInputError(f"{url!r} is not a URL", mend="write http://127.0.0.1:PORT") from error
    if host not in LOOPBACK:
        raise ConfigurationError(
            f"{url} is not on this machine, and plain http is not encrypted",
            mend="use https:// or an alias of your identity; http:// only with 127.0.0.1",
        )
    return url.rstrip("/")
