"""Tokens of NERSC's Superfacility API: OAuth2 client credentials, proved with a private key.

The client signs a short-lived statement about itself (RFC 7523, ``private_key_jwt``); the key
never leaves its file, and neither key nor token is ever written or logged.
"""

from __future__ import annotations

import time

from airflow_provider_lclstream.psik.backends.facility import PASSING, detail_of, send
from airflow_provider_lclstream.psik.backends.facility_secrets import checked_url
from airflow_provider_lclstream.psik.backends.sfapi_statement import signed_statement
from lclstreamer.core.errors import PermissionDeniedError, UnavailableError

_MARGIN_SECONDS = 30.0
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class TokenSource:
    """Fetches tokens when they are needed and keeps each until shortly before it runs out.

    Args:
        token_url: where tokens are given.
        key_file: the private key in PEM, mode 0600; its first line may be the client id.
        client_id: the client id, where the file does not say it.
    """

    def __init__(self, token_url: str, key_file: str, client_id: str | None) -> None:
        self.token_url = checked_url(token_url)
        self.key_file, self.client_id = key_file, client_id
        self._token, self._until = "", 0.0

    def current(self) -> str:
        """The token; a new one where the last is about to run out."""
        return self._token if time.monotonic() < self._until else self.renewed()

    def renewed(self) -> str:
        """A new token."""
        self._fetch()
        return self._token

    def _fetch(self) -> None:
        import httpx2

        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": _ASSERTION,
            "client_assertion": signed_statement(self.key_file, self.client_id, self.token_url),
        }
        try:
            answer = send("POST", self.token_url, data=form, headers={"accept": "application/json"})
        except httpx2.HTTPError as error:
            raise UnavailableError(
                f"cannot get a token: {error}",
                where=self.token_url,
                mend="it is retried automatically",
            ) from error
        if answer.is_success:
            document = answer.json()
            self._token = str(document["access_token"])
            lifetime = float(document.get("expires_in", 300))
            self._until = time.monotonic() + max(lifetime - _MARGIN_SECONDS, lifetime / 2)
            return
        said = f"the token service answered {answer.status_code}: {detail_of(answer)}"
        if answer.status_code in PASSING or answer.status_code >= 500:
            raise UnavailableError(said, where=self.token_url, mend="it is retried automatically")
        raise PermissionDeniedError(
            said,
            where=self.token_url,
            mend="check in Iris that the client has not expired and allows this machine's address",
        )
