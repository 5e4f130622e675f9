"""From messages to DAG runs: once per run, whatever happens on the way."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from airflow_provider_lclstream.arp.airflow_client import AirflowClient, Credentials
from airflow_provider_lclstream.arp.dispatcher import RunEventDispatcher
from airflow_provider_lclstream.arp.rules import parse_rules
from airflow_provider_lclstream.elog.models import MalformedMessageError
from lclstreamer.core.errors import (
    BadInputError,
    PermissionDeniedError,
    TemporaryError,
    UnavailableError,
)

NOW = datetime(2026, 11, 20, 20, 40, tzinfo=UTC)
RUN_ID = "lclstream__mfxx00126__r0017__6b00afd2050858c8cd1fedca"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def dispatcher(rules_text, client) -> RunEventDispatcher:
    return RunEventDispatcher(parse_rules(rules_text), client, attempts=4, retry_seconds=0.01)


pytestmark = pytest.mark.anyio


async def test_a_run_start_starts_one_transfer(dispatcher, client, airflow, message):
    outcome = await dispatcher.handle(message(), now=NOW)
    assert (outcome.kind, outcome.dag_run_id) == ("started", RUN_ID)
    body = airflow.runs[RUN_ID]
    assert body["logical_date"] is None
    assert body["conf"]["experiment"] == "mfxx00126"
    assert body["conf"]["streamer"]["source_identifier"].startswith("exp=mfxx00126,run=17,")
    assert airflow.password not in json.dumps(body)
    await client.aclose()


async def test_repeats_and_later_messages_start_nothing_more(dispatcher, client, airflow, message):
    end = message("Update", end_time="2026-11-20T20:39:00+00:00", duration=18.0)
    for raw in (message(), message(), message("Update", params={"a": 1}), end, message()):
        await dispatcher.handle(raw, now=NOW)
    assert list(airflow.runs) == [RUN_ID]
    assert airflow.statuses == [200]
    assert dispatcher.counts == {"started": 1, "ignored": 4}
    await client.aclose()


async def test_an_end_without_its_start_still_starts_the_transfer(
    dispatcher, client, airflow, message
):
    await dispatcher.handle(message("Update", end_time="2026-11-20T20:39:00+00:00"), now=NOW)
    assert list(airflow.runs) == [RUN_ID]
    await client.aclose()


async def test_after_a_restart_an_existing_run_is_as_good(rules_text, client, airflow, message):
    for kind in ("started", "exists"):
        fresh = RunEventDispatcher(parse_rules(rules_text), client)
        assert (await fresh.handle(message(), now=NOW)).kind == kind
    assert airflow.statuses == [200, 409]
    await client.aclose()


async def test_what_fails_for_a_while_is_tried_again(dispatcher, client, airflow, message):
    airflow.faults = [503, "hang up", 404]
    assert (await dispatcher.handle(message(), now=NOW)).kind == "started"
    assert list(airflow.runs) == [RUN_ID]
    await client.aclose()


async def test_what_fails_for_long_is_not_forgotten(dispatcher, client, airflow, message):
    airflow.faults = [503] * 4
    with pytest.raises(TemporaryError, match="was not started after 4 attempts") as caught:
        await dispatcher.handle(message(), now=NOW)
    assert caught.value.transient
    # The same message comes again, because its offset was not committed.
    assert (await dispatcher.handle(message(), now=NOW)).kind == "started"
    await client.aclose()


async def test_an_expired_token_is_replaced(dispatcher, client, airflow, message):
    await dispatcher.handle(message(), now=NOW)
    airflow.tokens.clear()
    outcome = await dispatcher.handle(message(num=18, _id="6c"), now=NOW)
    assert outcome.kind == "started"
    assert airflow.statuses == [200, 401, 200]
    await client.aclose()


async def test_wrong_credentials_are_no_reason_to_try_again(rules_text, airflow, message):
    wrong = AirflowClient(airflow.url, Credentials("arp", "wrong"))
    dispatcher = RunEventDispatcher(parse_rules(rules_text), wrong)
    with pytest.raises(PermissionDeniedError, match="refuses the user 'arp'") as caught:
        await dispatcher.handle(message(), now=NOW)
    assert "wrong" not in str(caught.value)
    await wrong.aclose()


async def test_nobody_there(rules_text, free_port, message):
    client = AirflowClient(f"http://127.0.0.1:{free_port()}", Credentials("a", "b"))
    dispatcher = RunEventDispatcher(parse_rules(rules_text), client, attempts=2, retry_seconds=0.01)
    with pytest.raises(TemporaryError, match="Airflow does not answer"):
        await dispatcher.handle(message(), now=NOW)
    with pytest.raises(UnavailableError):
        await client.get("/api/v2/version")
    await client.aclose()


async def test_a_refused_request_is_final(dispatcher, client, airflow, message):
    airflow.faults = [422]
    with pytest.raises(BadInputError, match="refuses the request"):
        await dispatcher.handle(message(), now=NOW)
    await client.aclose()


async def test_old_dark_and_foreign_runs_start_nothing(dispatcher, client, airflow, message):
    old = await dispatcher.handle(message(num=1, begin_time="2025-01-01T00:00:00+00:00"), now=NOW)
    assert "longer ago than max_age" in old.reason
    for raw in (
        message(num=2, type="DARK"),
        b'{"experiment_name": "mfxx00126", "CRUD": "Create", "value": {"leader": "x"}}',
    ):
        assert (await dispatcher.handle(raw, now=NOW)).kind == "ignored"
    assert airflow.runs == {}
    await client.aclose()


async def test_malformed_messages_are_the_callers(dispatcher, client):
    with pytest.raises(MalformedMessageError):
        await dispatcher.handle(b"not json", now=NOW)
    await client.aclose()


async def test_a_name_that_makes_no_request_is_malformed(dispatcher, client, message):
    with pytest.raises(BadInputError, match="makes no request"):
        await dispatcher.handle(message(experiment="a/../b"), now=NOW)
    await client.aclose()


async def test_a_dry_run_says_what_it_would_do(rules_text, client, airflow, message):
    dispatcher = RunEventDispatcher(parse_rules(rules_text), client, dry_run=True)
    outcome = await dispatcher.handle(message(), now=NOW)
    assert (outcome.kind, outcome.dag_run_id) == ("ignored", RUN_ID)
    assert airflow.statuses == []
    await client.aclose()


async def test_a_switch_tells_the_instrument(rules_text, client, airflow, message):
    rules = rules_text.replace("name: mfx", "name: cxi\n    instruments: [CXI]")
    dispatcher = RunEventDispatcher(parse_rules(rules), client)
    assert (await dispatcher.handle(message(), now=NOW)).kind == "ignored"
    switch = {"instrument": "CXI", "station": 0, "experiment_name": "mfxx00126", "userid": "x"}
    raw = json.dumps({"experiment_name": "mfxx00126", "value": switch})
    await dispatcher.handle(raw, now=NOW)
    assert (await dispatcher.handle(message(num=18, _id="6c"), now=NOW)).kind == "started"
    await client.aclose()


@pytest.mark.shared_data
async def test_the_captured_sequence_gives_one_transfer_in_any_order(
    rules_text, client, airflow, shared_data
):
    lines = (shared_data / "data" / "elog" / "run17_sequence.jsonl").read_text().splitlines()
    messages = [json.dumps(json.loads(line)["value"]) for line in lines]
    for order in (messages, messages[::-1], sorted(messages), messages * 3):
        airflow.runs.clear()
        dispatcher = RunEventDispatcher(parse_rules(rules_text), client)
        for raw in order:
            await dispatcher.handle(raw, now=NOW)
        assert list(airflow.runs) == [RUN_ID]
        assert dispatcher.counts["started"] == 1
    await client.aclose()


async def test_a_document_from_rest_is_as_good(dispatcher, client, airflow, message):
    document = json.loads(message())["value"]
    outcome = await dispatcher.handle_document("mfxx00126", document, now=NOW)
    assert (outcome.kind, list(airflow.runs)) == ("started", [RUN_ID])
    await client.aclose()
