"""The Elog's REST interface, as far as a sweep for lost run events needs it.

Errors of the Elog are prose under a JSON content type, or ``{"success": false}`` with status 200;
both become errors with the text in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from lclstreamer.core.errors import (
    BadInputError,
    LCLStreamError,
    PermissionDeniedError,
    TemporaryError,
    UnavailableError,
)

if TYPE_CHECKING:
    import httpx2

MAXIMUM_ANSWER_BYTES = 64 * 2**20


class ElogClient:
    """A client of one Elog.

    Args:
        base_url: with its prefix, e.g. ``https://pswww.slac.stanford.edu/ws/lgbk``.
        headers: e.g. ``{"Authorization": "Bearer …"}`` for the prefix ``ws-jwt``.
        timeout_seconds: for one request.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = 15,
    ) -> None:
        import httpx2

        self.base_url = base_url.rstrip("/")
        self._http: httpx2.Client = httpx2.Client(
            timeout=timeout_seconds, headers=dict(headers or {}), trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def current_run(self, experiment: str) -> dict[str, Any] | None:
        """The document of the run that was started last, or None before the first."""
        value = self._get(f"/lgbk/{quote(experiment)}/ws/current_run", may_fail=True)
        return value if isinstance(value, dict) else None

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """The documents of all runs, the latest first, without their parameters."""
        value = self._get(f"/lgbk/{quote(experiment)}/ws/runs?includeParams=false")
        if not isinstance(value, list):
            raise self._odd("a list of runs", value)
        return [run for run in value if isinstance(run, dict)]

    def files_for_live_mode(self, experiment: str, run_number: int) -> list[str]:
        """The paths of the data files that a run has so far."""
        route = f"/lgbk/{quote(experiment)}/ws/{run_number}/current_files_for_live_mode"
        value = self._get(route)
        if not isinstance(value, list):
            raise self._odd("a list of paths", value)
        return [str(path) for path in value]

    def active_experiment(self, instrument: str, station: int = 0) -> str | None:
        """The name of the experiment that is active at an instrument, or None in standby."""
        query = f"instrument_name={quote(instrument)}&station={station}"
        route = f"/lgbk/ws/activeexperiment_for_instrument_station?{query}"
        value = self._get(route, may_fail=True)
        return str(value["name"]) if isinstance(value, dict) and "name" in value else None

    def _get(self, route: str, *, may_fail: bool = False) -> Any:
        import httpx2

        try:
            answer = self._http.get(self.base_url + route)
        except httpx2.HTTPError as error:
            raise UnavailableError(
                f"the Elog does not answer: {type(error).__name__}: {error}",
                where=self.base_url,
                mend="check the address and whether the Elog can be reached from here",
            ) from error
        try:
            document = answer.json()
        except ValueError:
            document = None
        if answer.is_success and isinstance(document, dict):
            if document.get("success"):
                return document.get("value")
            if may_fail:
                return None
        # In standby the real Elog answers 500 with prose: for some questions that is a "none".
        if may_fail and answer.status_code in {404, 500}:
            return None
        raise self._failure(answer, document)

    def _failure(self, answer: httpx2.Response, document: Any) -> LCLStreamError:
        told = document.get("errormsg") if isinstance(document, dict) else None
        prose = re.sub(r"<[^>]*>", " ", answer.text[:2000])
        text = str(told or " ".join(prose.split())[:200] or "nothing")
        where = str(answer.request.url)
        if answer.status_code in {401, 403}:
            return PermissionDeniedError(
                f"the Elog refuses ({answer.status_code}): {text}",
                where=where,
                mend="use a prefix and a token that may read this experiment",
            )
        if answer.status_code >= 500:
            return TemporaryError(
                f"the Elog answers {answer.status_code}: {text}", where=where, mend="try again"
            )
        return BadInputError(
            f"the Elog answers {answer.status_code}: {text}",
            where=where,
            mend="check the experiment's name and the run's number",
        )

    def _odd(self, expected: str, value: object) -> BadInputError:
        return BadInputError(
            f"the Elog gave {type(value).__name__} where {expected} was expected",
            where=self.base_url,
            mend="see whether its interface has changed",
        )
