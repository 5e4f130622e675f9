"""The data-taking system as the logbook sees it: it starts runs, names files, ends runs."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from lclstreamer.core.errors import BadInputError, UnavailableError

TIMEOUT_SECONDS = 15.0


class DataTakingSystem:
    """Talks to one experiment's logbook over REST.

    Args:
        elog_url: the logbook's base, e.g. ``http://127.0.0.1:8080/ws/lgbk``.
        experiment: the experiment that takes data.
    """

    def __init__(self, elog_url: str, experiment: str) -> None:
        self._elog_url, self._experiment = elog_url.rstrip("/"), experiment
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def switch_to(self, instrument: str) -> None:
        """Make the experiment the active one of an instrument."""
        query = {"experiment_name": self._experiment, "instrument_name": instrument}
        self._post(f"/lgbk/ws/switch_experiment?{urlencode(query)}")

    def start_run(self, run_number: int, *, run_type: str = "DATA") -> dict[str, Any]:
        """Begin a run and give its document."""
        query = urlencode({"run_num": run_number, "run_type": run_type})
        return self._post(f"/run_control/{self._experiment}/ws/start_run?{query}")

    def add_run_params(self, params: dict[str, Any]) -> None:
        """Tell parameters of the current run."""
        self._post(f"/run_control/{self._experiment}/ws/add_run_params", params)

    def register_file(self, run_number: int, path: Path) -> None:
        """Name a file that was opened for a run."""
        instrument = self._experiment[:3]
        body = {
            "run_num": run_number,
            "path": f"/{instrument}/{self._experiment}/xtc/{path.name}",
            "absolute_path": str(path),
        }
        self._post(f"/lgbk/{self._experiment}/ws/register_file", body)

    def end_run(self) -> None:
        """End the current run."""
        self._post(f"/run_control/{self._experiment}/ws/end_run")

    def _post(self, route: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310  (the demo's own logbook)
            self._elog_url + route, data=json.dumps(body or {}).encode(), method="POST"
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                document = json.load(answer)
        except (OSError, ValueError) as error:
            raise UnavailableError(
                f"the logbook does not take it: {error}",
                where=self._elog_url + route,
                mend="see whether the Elog runs",
            ) from error
        if not document.get("success"):
            raise BadInputError(
                f"the logbook refuses: {document.get('errormsg')}",
                where=self._elog_url + route,
                mend="see what the experiment's logbook has already",
            )
        return document.get("value")
