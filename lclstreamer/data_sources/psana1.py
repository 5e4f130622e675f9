"""Data of LCLS-I."""

from __future__ import annotations

from typing import Any

from lclstreamer.core.errors import MissingDependencyError
from lclstreamer.data_sources.base import RunFacts, Shot


class Psana1Data:
    """Says that reading LCLS-I data comes in a later version."""

    def __init__(self, name: str, parameters: Any, _facts: RunFacts) -> None:
        raise MissingDependencyError(
            f"the data source {name!r} ({parameters.type}) cannot be read yet: there is no psana 1 "
            "reader here",
            mend="leave it out, or take the data source of psana 2 with the same name",
        )

    @staticmethod
    def why_unavailable() -> str:
        """Always."""
        return "LCLS-I data cannot be read yet: this version has no psana 1 reader"

    def get(self, _shot: Shot) -> None:
        """No data."""
        return
