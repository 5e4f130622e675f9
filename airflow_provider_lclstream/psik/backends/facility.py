"""Talking HTTP to a facility: bounded in time, tried again where that is safe.

A backend is never closed, so each question opens a connection of its own.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_lclstream.psik.backends.facility_secrets import Tokens, checked_url
from lclstreamer.core.errors import (
    BadInputError,
    PermissionDeniedError,
    UnavailableError,
)

if TYPE_CHECKING:
    import httpx2

TIMEOUT_SECONDS = 30.0
PAUSES_SECONDS = (0.5, 1.5)
"""How long to wait before each further try; as many as there are numbers."""
PASSING = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses after which the same question may be answered in a moment."""
_NOT_DONE = frozenset({429, 503})
"""Of these, the ones that say that nothing was done: even a submission may be repeated."""


Document = TypeVar("Document", dict[str, Any], list[Any])


class FacilityRefusalError(BadInputError):
    """A facility refused a request.

    Attributes:
        status: the HTTP status it answered.
    """

    title = "refused by the facility"

    def __init__(self, problem: str, *, mend: str, where: str | None, status: int) -> None:
        super().__init__(problem, mend=mend, where=where)
        self.status = status


class FacilityTroubleError(UnavailableError):
    """A facility could not serve a request now.

    Attributes:
        status: the HTTP status it answered.
    """

    def __init__(self, problem: str, *, mend: str, where: str | None, status: int) -> None:
        super().__init__(problem, mend=mend, where=where)
        self.status = status


class FacilityClient:
    """Asks one service, with a bearer token.

    Args:
        url: the service's base URL; plain HTTP is for this machine only.
        tokens: gives the token.
    """

    def __init__(self, url: str, tokens: Tokens) -> None:
        self.url, self.tokens = checked_url(url), tokens

    def read(self, kind: type[Document], method: str, path: str, **options: Any) -> Document:
        """Ask as `ask` does, and return the JSON object or list that is answered.

        Raises:
            UnavailableError: beside the reasons of `ask`, the answer is something else.
        """
        answer = self.ask(method, path, **options)
        try:
            document = answer.json()
        except ValueError:
            document = None
        if isinstance(document, kind):
            return document
        raise UnavailableError(
            f"the facility answered {answer.text[:200]!r}, not a JSON {kind.__name__}",
            where=self.url,
            mend="it is retried automatically; check that `url` is its API",
        )

    def ask(
        self, method: str, path: str, *, is_repeatable: bool = True, **content: Any
    ) -> httpx2.Response:
        """Ask, and ask again a few times where that is safe and may help.

        Args:
            method: the HTTP method.
            path: below the base URL.
            is_repeatable: whether asking twice does the same as asking once.
            content: what httpx2 takes: ``params``, ``json``, ``data``, ``headers``.

        Raises:
            FacilityRefusalError: it said no.
            PermissionDeniedError: it does not accept the token.
            UnavailableError: it is away or in trouble; the same call may work later.
        """
        import httpx2

        again = PASSING if is_repeatable else _NOT_DONE
        for pause in PAUSES_SECONDS:
            try:
                answer = self._ask_once(method, path, content)
                if answer.status_code not in again:
                    return self._accepted(answer)
            except httpx2.HTTPError as error:
                if not is_repeatable and not isinstance(error, httpx2.ConnectError):
                    raise self._away(error) from error
            time.sleep(pause)
        try:
            return self._accepted(self._ask_once(method, path, content))
        except httpx2.HTTPError as error:
            raise self._away(error) from error

    def _ask_once(self, method: str, path: str, content: dict[str, Any]) -> httpx2.Response:
        answer = self._send(method, path, content, self.tokens.current())
        if answer.status_code == 401:
            # It ran out or was replaced: one more try with a new one.
            answer = self._send(method, path, content, self.tokens.renewed())
        return answer

    def _send(self, method: str, path: str, content: dict[str, Any], token: str) -> httpx2.Response:
        headers = {"accept": "application/json", "authorization": f"Bearer {token}"}
        headers |= content.get("headers", {})
        return send(method, self.url + path, **{**content, "headers": headers})

    def _away(self, error: Exception) -> UnavailableError:
        return UnavailableError(
            f"the facility cannot be reached: {error or type(error).__name__}",
            where=self.url,
            mend="it is retried automatically",
        )

    def _accepted(self, answer: httpx2.Response) -> httpx2.Response:
        status = answer.status_code
        if answer.is_success:
            return answer
        said = f"the facility answered {status}: {detail_of(answer)}"
        # The one that was sent; another thread may have renewed it since.
        token = answer.request.headers["authorization"].removeprefix("Bearer ")
        said = said.replace(token, "(token)")
        if status in {401, 403}:
            raise PermissionDeniedError(
                said, where=self.url, mend="renew the token or key, or ask the facility for access"
            )
        if status in PASSING or (status >= 500 and status != 501):
            raise UnavailableError(said, where=self.url, mend="it is retried automatically")
        mend = "fix the job or the backend's settings"
        raise FacilityRefusalError(said, where=self.url, mend=mend, status=status)


def send(method: str, url: str, **content: Any) -> httpx2.Response:
    """Send one request over a connection of its own; follows no redirect."""
    import httpx2

    with httpx2.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        return client.request(method, url, **content)


def detail_of(answer: httpx2.Response) -> str:
    """What an error reply says, in one short line."""
    text = answer.text
    try:
        document = json.loads(text)
        text = str(document.get("detail") or document.get("error") or text)
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:500] or "nothing"
