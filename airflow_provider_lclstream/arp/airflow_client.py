"""Airflow's REST interface, as far as starting and following a transfer needs it.

A DAG run is created under an id that the caller chooses; the second attempt answers "exists
already", which is as good: that makes starting a transfer safe to repeat.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lclstreamer.core.errors import (
    BadInputError,
    ConfigurationError,
    LCLStreamError,
    PermissionDeniedError,
    TemporaryError,
    UnavailableError,
)

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)

URL_VARIABLE = "LCLSTREAM_AIRFLOW_URL"
CREDENTIALS_VARIABLE = "LCLSTREAM_AIRFLOW_CREDENTIALS_FILE"


@dataclass(frozen=True)
class Credentials:
    """Who asks. The password never shows in a representation."""

    username: str
    password: str = field(repr=False)


def load_credentials(path: Path | str) -> Credentials:
    """Read ``{"username": …, "password": …}``; the file must be readable by its owner alone.

    Raises:
        ConfigurationError: it cannot be read, is open to others, or has not these two keys.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        is_open = Path(path).stat().st_mode & 0o077
        document = json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot read the credentials: {error}",
            where=str(path),
            mend='write {"username": "…", "password": "…"} into it',
        ) from error
    if is_open:
        raise ConfigurationError(
            "other users can read the credentials", where=str(path), mend=f"chmod 600 {path}"
        )
    try:
        return Credentials(str(document["username"]), str(document["password"]))
    except (KeyError, TypeError) as error:
        raise ConfigurationError(
            "the credentials lack username or password",
            where=str(path),
            mend='write {"username": "…", "password": "…"} into it',
        ) from error


def client_from_environment() -> AirflowClient:
    """A client for ``LCLSTREAM_AIRFLOW_URL`` with ``LCLSTREAM_AIRFLOW_CREDENTIALS_FILE``.

    Raises:
        ConfigurationError: one of the two variables is not set, or the file is no good.
    """
    missing = [name for name in (URL_VARIABLE, CREDENTIALS_VARIABLE) if not os.environ.get(name)]
    if missing:
        raise ConfigurationError(
            f"{' and '.join(missing)} not set",
            mend="set them to Airflow's URL and to a file with username and password",
        )
    return AirflowClient(
        os.environ[URL_VARIABLE], load_credentials(os.environ[CREDENTIALS_VARIABLE])
    )


class AirflowClient:
    """An asynchronous client of one Airflow.

    Args:
        base_url: e.g. ``http://127.0.0.1:8080``.
        credentials: of a user who may trigger DAGs (role ``op``).
        timeout_seconds: for one request.
    """

    def __init__(
        self, base_url: str, credentials: Credentials, *, timeout_seconds: float = 15
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._credentials = credentials
        self._timeout_seconds = timeout_seconds
        self._http: httpx2.AsyncClient | None = None
        self._token = ""

    async def start_dag_run(
        self, dag_id: str, dag_run_id: str, conf: Mapping[str, Any], *, note: str = ""
    ) -> Literal["created", "exists"]:
        """Create a DAG run, or find that it exists.

        Raises:
            LCLStreamError: transient where trying again can help, else not.
        """
        body = {"logical_date": None, "dag_run_id": dag_run_id, "conf": dict(conf)}
        if note:
            body["note"] = note[:1000]
        answer = await self.request("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)
        return "exists" if answer.status_code == 409 else "created"

    async def get(self, path: str) -> Any:
        """The JSON document at a path such as ``/api/v2/dags/…``."""
        return (await self.request("GET", path)).json()

    async def request(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        """One request with a valid token; 2xx and 409 return, everything else raises."""
        for is_last in (False, True):
            if not self._token:
                self._token = await self._new_token()
            answer = await self._send(method, path, body, token=self._token)
            if answer.status_code != 401:
                break
            self._token = ""  # it expired, or Airflow was set up anew
            if is_last:
                raise self._denied(answer)
        if answer.is_success or answer.status_code == 409:
            return answer
        raise self._failure(answer)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def _new_token(self) -> str:
        body = {"username": self._credentials.username, "password": self._credentials.password}
        answer = await self._send("POST", "/auth/token", body)
        if answer.status_code in {400, 401, 403}:
            raise self._denied(answer)
        if not answer.is_success:
            raise self._failure(answer)
        return str(answer.json()["access_token"])

    async def _send(
        self, method: str, path: str, body: Any = None, *, token: str = ""
    ) -> httpx2.Response:
        import httpx2

        if self._http is None:
            # Never through a proxy of the environment: run events stay inside the site.
            self._http = httpx2.AsyncClient(timeout=self._timeout_seconds, trust_env=False)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return await self._http.request(
                method, self.base_url + path, json=body, headers=headers
            )
        except httpx2.HTTPError as error:
            raise UnavailableError(
                f"Airflow does not answer: {type(error).__name__}: {error}",
                where=self.base_url,
                mend="see whether its API server runs and can be reached from here",
            ) from error

    def _denied(self, answer: httpx2.Response) -> LCLStreamError:
        return PermissionDeniedError(
            f"Airflow refuses the user {self._credentials.username!r} ({answer.status_code})",
            where=self.base_url,
            mend="check the credentials file; the user needs a role that may trigger DAGs",
        )

    def _failure(self, answer: httpx2.Response) -> LCLStreamError:
        status, text = answer.status_code, answer.text[:300]
        where = f"{answer.request.method} {answer.request.url}"
        if status == 403:
            return self._denied(answer)
        if status == 404:
            return TemporaryError(
                f"Airflow does not know it (404): {text}",
                where=where,
                mend="see whether the DAG is deployed; a new file takes a while to be read",
            )
        if status >= 500 or status in {408, 425, 429}:
            return TemporaryError(
                f"Airflow answers {status}: {text}", where=where, mend="it is tried again"
            )
        return BadInputError(
            f"Airflow refuses the request ({status}): {text}",
            where=where,
            mend="compare what was sent with the DAG's parameters",
        )
