"""`lclstream transfer` shows what would happen and starts nothing."""

from __future__ import annotations

import json

import pytest
import yaml

from airflow_provider_lclstream.transfer.cli import transfer_command
from lclstreamer.core.errors import ConfigurationError, UsageError


def test_the_plan_of_a_request_is_shown(request_document, tmp_path, capsys):
    path = tmp_path / "request.yaml"
    path.write_text(yaml.safe_dump(request_document))
    assert transfer_command(["plan", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "nng-stream run" in shown
    assert "lclstreamer run" in shown
    assert transfer_command(["plan", str(path), "--json"]) == 0
    jobs = json.loads(capsys.readouterr().out)
    assert jobs["streamer"]["resources"]["process_count"] == 4


def test_too_few_slots_for_so_many_transfers_are_told(request_document, tmp_path):
    request, site = tmp_path / "request.yaml", tmp_path / "site.yaml"
    request.write_text(yaml.safe_dump(request_document))
    backends = {"default": {"type": "local", "attributes": {"slots": "4"}}}
    site.write_text(yaml.safe_dump({"psik": {"prefix": str(tmp_path), "backends": backends}}))
    words = ["plan", str(request), "--site", str(site), "--json"]
    assert transfer_command([*words, "--transfers", "3"]) == 0
    with pytest.raises(ConfigurationError, match=r"all slots \(4\) of the local backend 'default'"):
        transfer_command([*words, "--transfers", "4"])


def test_mistakes_in_a_request_are_located(request_document, tmp_path):
    path = tmp_path / "request.yaml"
    path.write_text(yaml.safe_dump({**request_document, "rank": 3}))
    with pytest.raises(ConfigurationError) as caught:
        transfer_command(["plan", str(path)])
    assert "did you mean 'ranks'?" in caught.value.render()


def test_schema_and_states_are_printed(capsys):
    assert transfer_command(["schema"]) == 0
    assert "run_number" in json.loads(capsys.readouterr().out)["properties"]
    assert transfer_command(["states"]) == 0
    assert capsys.readouterr().out.startswith("stateDiagram-v2")


def test_a_wrong_word_is_a_usage_error():
    with pytest.raises(UsageError, match="plann"):
        transfer_command(["plann"])
