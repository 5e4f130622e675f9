"""What a facility says, while tokens are renewed."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from airflow_provider_lclstream.psik.backends import facility
from airflow_provider_lclstream.psik.backends.facility import FacilityClient, FacilityRefusalError


class Renewed:
    """A token that another thread renews while a question is on its way."""

    token = "first"

    def current(self) -> str:
        """The present one."""
        return self.token

    renewed = current


def test_a_token_that_was_renewed_meanwhile_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Renewed()

    def send(method: str, url: str, **content: Any) -> httpx2.Response:
        request = httpx2.Request(method, url, headers=content["headers"])
        tokens.token = "second"
        said = f"no job for {request.headers['authorization']}"
        return httpx2.Response(400, json={"detail": said}, request=request)

    monkeypatch.setattr(facility, "send", send)
    with pytest.raises(FacilityRefusalError, match=r"no job for Bearer \(token\)\. "):
        FacilityClient("http://127.0.0.1:9", tokens).ask("GET", "/jobs")
