"""A client of Airflow's own REST interface, with the credentials of an Airflow connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lclstreamer.core.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_lclstream.arp.airflow_client import AirflowClient


def airflow_client(connection: Any) -> AirflowClient:
    """Return a client for an HTTP connection: host (or URL), port, login and password.

    Raises:
        ConfigurationError: the connection lacks one of them.
    """
    from airflow_provider_lclstream.arp.airflow_client import AirflowClient, Credentials

    missing = [name for name in ("host", "login", "password") if not getattr(connection, name)]
    if missing:
        raise ConfigurationError(
            f"the Airflow connection {connection.conn_id!r} has no {' and no '.join(missing)}",
            mend="give it the API server's address, and a user who may trigger DAGs",
        )
    return AirflowClient(base_url(connection), Credentials(connection.login, connection.password))


def base_url(connection: Any) -> str:
    """Return the URL of an HTTP connection, whose host may be a whole URL already."""
    host = str(connection.host)
    address = host.rstrip("/") if "://" in host else f"{connection.schema or 'http'}://{host}"
    return f"{address}:{connection.port}" if connection.port else address
