"""One bucket of tokens for each user."""

from __future__ import annotations

import pytest

from airflow_provider_lclstream.signer import rate_limit
from airflow_provider_lclstream.signer.caller import Caller
from airflow_provider_lclstream.signer.rate_limit import RateLimit
from lclstreamer.core.errors import PermissionDeniedError


def test_a_user_may_use_the_whole_minute_at_once_and_then_waits():
    limit = RateLimit(6)
    assert [limit.wait_seconds(1, now=0) for _ in range(6)] == [0] * 6
    assert limit.wait_seconds(1, now=0) == pytest.approx(10)
    assert limit.wait_seconds(1, now=5) == pytest.approx(5)
    assert limit.wait_seconds(1, now=10) == 0
    assert limit.wait_seconds(1, now=10) > 0


def test_users_do_not_use_up_each_others_tokens():
    limit = RateLimit(1)
    assert limit.wait_seconds(1, now=0) == 0
    assert limit.wait_seconds(1, now=0) > 0
    assert limit.wait_seconds(2, now=0) == 0


def test_tokens_are_not_saved_up_beyond_a_minute():
    limit = RateLimit(2)
    limit.wait_seconds(1, now=0)
    assert [limit.wait_seconds(1, now=10_000) == 0 for _ in range(3)] == [True, True, False]


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(rate_limit, "REMEMBERED_USERS", 100)
    limit = RateLimit(1)
    for uid in range(1000):
        limit.wait_seconds(uid, now=0)
    assert len(limit._buckets) == 100


def test_names_come_from_the_table_of_users():
    assert Caller(1, 1, 1).login_name() == "daemon"
    with pytest.raises(PermissionDeniedError, match="root"):
        Caller(1, 0, 0).login_name()
    with pytest.raises(PermissionDeniedError, match="no login name"):
        Caller(1, 4_000_000, 1).login_name()
    with pytest.raises(PermissionDeniedError, match="account of the system"):
        Caller(1, 1, 1).login_name(minimum_uid=1000)
