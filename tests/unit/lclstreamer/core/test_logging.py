"""Logs: one JSON object per line where nobody watches, and no secret in them."""

from __future__ import annotations

import json
import logging

import pytest

from lclstreamer.core.errors import UsageError
from lclstreamer.core.logging import configure_logging, mask_secrets

PROGRAM = """
import logging
from lclstreamer.core.logging import configure_logging
configure_logging({level!r}, as_json={as_json})
log = logging.getLogger("a.module")
log.info("queued %d bytes", 5, extra={{"jobid": "17", "api_token": "s3cret"}})
log.debug("unseen")
log.warning("dialling", extra={{
    "url": "https://bob:s3cret@host/x",
    "headers": {{"Authorization": "Bearer s3cret", "Accept": "a"}},
}})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def lines(processes, *, as_json: bool, level: str = "info") -> tuple[list[str], str]:
    ended = processes.run(["python", "-c", PROGRAM.format(as_json=as_json, level=level)])
    assert ended.process.returncode == 0, ended.stderr
    assert ended.stdout == ""
    return ended.stderr.splitlines(), ended.stderr


def test_json_lines_carry_level_logger_time_and_facts(processes):
    records = [json.loads(line) for line in lines(processes, as_json=True)[0]]
    assert [record["event"] for record in records] == ["queued 5 bytes", "dialling", "failed"]
    first = records[0]
    assert (first["level"], first["logger"], first["jobid"]) == ("info", "a.module", "17")
    assert first["timestamp"].endswith("Z")
    assert "ZeroDivisionError" in records[2]["exception"]


@pytest.mark.parametrize("as_json", [True, False])
def test_no_secret_is_written(processes, as_json):
    _, text = lines(processes, as_json=as_json)
    assert "s3cret" not in text
    assert "***" in text
    assert "queued 5 bytes" in text


def test_masking_looks_inside_and_keeps_the_rest():
    assert mask_secrets({"a": 1, "password": "x", "b": [{"my_token": "x", "c": "d"}]}) == {
        "a": 1,
        "password": "***",
        "b": [{"my_token": "***", "c": "d"}],
    }
    assert mask_secrets("amqp://u:p@h/1 tcp://h:1") == "amqp://u:***@h/1 tcp://h:1"


def test_an_unknown_level_is_a_usage_error():
    before = logging.getLogger().handlers[:]
    with pytest.raises(UsageError):
        configure_logging("LOUD")
    assert logging.getLogger().handlers == before
