"""Who a request comes from."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_lclstream.psik_api.caller import caller_of
from lclstreamer.core.errors import PermissionDeniedError


def test_the_identity_is_that_of_the_connection() -> None:
    peer = SimpleNamespace(owner="uid:alice@k1", principal="uid:alice")
    scope = {"state": {"peer": peer}, "client": ("10.0.0.1", 1)}
    caller = caller_of(scope, loopback_caller="developer")
    assert caller.owner == "uid:alice@k1"
    assert caller.names == ("uid:alice@k1", "uid:alice")


@pytest.mark.parametrize("client", [("127.0.0.1", 1), ("::1", 1), ("10.0.0.1", 1), None])
def test_loopback_is_nobody_unless_a_developer_says_so(client: tuple[str, int] | None) -> None:
    with pytest.raises(PermissionDeniedError, match="no identity"):
        caller_of({"client": client}, loopback_caller=None)
    if client is not None and client[0] in {"127.0.0.1", "::1"}:
        assert caller_of({"client": client}, loopback_caller="dev").owner == "dev"
    else:
        with pytest.raises(PermissionDeniedError):
            caller_of({"client": client}, loopback_caller="dev")
