"""Who may do what: pure rules."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_lclstream.psik.models import JobSpec
from airflow_provider_lclstream.psik_api.policy import (
    Policy,
    Rule,
    may_change,
    may_see,
    require_submit,
)
from lclstreamer.core.errors import PermissionDeniedError

POLICY = Policy.model_validate(
    {
        "rules": [
            {"who": ["uid:operator@*"], "sees": ["*"], "cancels": ["own", "uid:alice@*"]},
            {
                "who": ["uid:alice@k1"],
                "backends": ["debug"],
                "attributes": ["--qos"],
                "callbacks": ["https://lclstream.slac.stanford.edu/*"],
                "max_unfinished": 2,
                "max_minutes": 60,
                "max_nodes": 4,
            },
        ]
    }
)


def test_the_first_rule_that_fits_applies() -> None:
    assert POLICY.rule_of(["uid:alice@k1", "uid:alice"]).backends == ["debug"]
    assert POLICY.rule_of(["uid:operator@k2"]).sees == ["*"]
    # The same login name of another authority is somebody else.
    with pytest.raises(PermissionDeniedError, match="uid:alice@k2"):
        POLICY.rule_of(["uid:alice@k2"])
    with pytest.raises(PermissionDeniedError):
        POLICY.rule_of([])


def test_by_default_everybody_has_jobs_of_their_own() -> None:
    rule = Policy().rule_of(["uid:anyone@k"])
    assert may_see(rule, "a", "a")
    assert not may_see(rule, "a", "b")
    assert not may_see(rule, "a", None)
    assert not may_change(rule, "a", "b")


def test_seeing_and_changing_are_given_apart() -> None:
    operator = POLICY.rules[0]
    assert may_see(operator, "uid:operator@k1", "uid:bob@k1")
    assert may_see(operator, "uid:operator@k1", None)
    assert not may_change(operator, "uid:operator@k1", "uid:bob@k1")
    assert may_change(operator, "uid:operator@k1", "uid:alice@k9")
    assert may_change(operator, "uid:operator@k1", "uid:operator@k1")


def test_an_owner_called_own_gains_nothing() -> None:
    assert not may_see(Rule(who=["*"]), "x", "own")


@pytest.mark.parametrize(
    ("spec", "unfinished", "problem"),
    [
        ({"backend": "milano"}, 0, "backend 'milano'"),
        ({"directory": "/etc"}, 0, "directory is chosen"),
        ({"attributes": {"--qos": "x", "--nice": "1"}}, 0, "--nice"),
        ({"callback": "http://169.254.169.254/"}, 0, "callbacks to"),
        ({"resources": {"duration": 61}}, 0, "60 minutes"),
        ({"resources": {"node_count": 5}}, 0, "4 nodes"),
        ({}, 2, "2 of your jobs"),
    ],
)
def test_what_exceeds_the_rule_is_refused(
    spec: dict[str, Any], unfinished: int, problem: str
) -> None:
    job = JobSpec.model_validate({"script": "x", "backend": "debug", **spec})
    with pytest.raises(PermissionDeniedError, match=problem):
        require_submit(POLICY.rules[1], job, unfinished)


def test_what_the_rule_allows_passes() -> None:
    job = JobSpec.model_validate(
        {
            "script": "x",
            "backend": "debug",
            "attributes": {"--qos": "x"},
            "callback": "https://lclstream.slac.stanford.edu/callback",
            "resources": {"duration": 60, "node_count": 4},
        }
    )
    require_submit(POLICY.rules[1], job, 1)


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://arp.slac.stanford.edu/cb?run=1", True),
        ("https://ARP.slac.stanford.edu/cb", True),
        ("https://user@arp.slac.stanford.edu/cb", True),
        ("http://arp.slac.stanford.edu/cb", False),
        ("https://arp.slac.stanford.edu:8443/cb", False),
        ("https://evil.example/.slac.stanford.edu/cb", False),
        ("https://evil.example?.slac.stanford.edu/cb", False),
        ("https://evil.example#.slac.stanford.edu/cb", False),
        ("https://x.slac.stanford.edu@evil.example/cb", False),
        ("https://169.254.169.254/latest/meta-data/x.slac.stanford.edu/", False),
        ("http://127.0.0.1:8080/any/where", True),
        ("http://127.0.0.1:8081/any/where", False),
    ],
)
def test_a_pattern_of_hosts_is_not_met_by_a_path(url: str, is_allowed: bool) -> None:
    allowed = ["https://*.slac.stanford.edu/*", "http://127.0.0.1:8080*"]
    rule = Rule(who=["*"], callbacks=allowed)
    try:
        require_submit(rule, JobSpec(script="true", callback=url), 0)
    except PermissionDeniedError:
        assert not is_allowed
    else:
        assert is_allowed
