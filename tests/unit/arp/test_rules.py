"""The rules file: which run fits, what request it makes, which mistakes are found at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_lclstream.arp.rules import fill_template, load_rules, parse_rules
from airflow_provider_lclstream.elog.run_log import RunRecord
from lclstreamer.core.errors import ConfigurationError

BEGIN = datetime(2026, 11, 20, 20, tzinfo=UTC)
XTC = "/mfx/x/xtc/x-r0017-s000-c000.xtc2"


def record(**facts) -> RunRecord:
    given = {"oid": "6b00afd2050858c8cd1fedca", "run_type": "DATA", "begin_time": BEGIN}
    named = {"experiment": "mfxx00126", "run_number": 17, "instrument": "MFX"}
    return RunRecord(**{**named, **given, **facts})


def book(streamer_text: str, **rule: str):
    lines = "".join(f"    {key}: {value}\n" for key, value in rule.items())
    return parse_rules(f"rules:\n  - name: r\n{lines}    request:{streamer_text}")


def test_a_template_is_filled_everywhere(rules_text, tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(rules_text)
    (rule,) = load_rules(path).rules
    request = rule.transfer_request(record(experiment="tmox42619", run_number=3))
    assert request.streamer.source_identifier == "exp=tmox42619,run=3,dir=/d/tmox42619/r0003"
    assert (request.experiment, request.run_number, request.ranks) == ("tmox42619", 3, 2)
    assert request.labels == {"rule": "mfx"}


def test_other_braces_are_left_alone():
    assert fill_template("{a} {} {1} {{a}}", {"a": 5}) == "5 {} {1} {5}"
    with pytest.raises(ValueError, match=r"unknown placeholder \{b\}: choose from a"):
        fill_template(["{b}"], {"a": 5})
    with pytest.raises(ValueError, match="is text"):
        fill_template("{a:04d}", {"a": "x"})


@pytest.mark.parametrize(
    ("rule", "facts", "fits"),
    [
        ({}, {}, True),
        ({}, {"run_type": "DARK"}, False),
        ({}, {"run_type": "pedestals"}, False),
        ({"run_types": "[DARK]"}, {"run_type": "DARK"}, True),
        ({"run_types": "[DATA]"}, {"run_type": "SCAN"}, False),
        ({"instruments": "[MFX, CXI]"}, {}, True),
        ({"instruments": "[cxi]"}, {}, False),
        ({"experiments": "['mfx*']"}, {}, True),
        ({"experiments": "['mfxl*']"}, {}, False),
        ({}, {"oid": ""}, False),
        ({"trigger": "END_OF_RUN"}, {}, False),
        ({"trigger": "END_OF_RUN"}, {"end_time": BEGIN}, True),
        ({"trigger": "MANUAL"}, {"end_time": BEGIN}, False),
        ({"trigger": "FIRST_FILE_TRANSFERRED"}, {"files": {XTC: frozenset()}}, False),
        ({"trigger": "FIRST_FILE_TRANSFERRED"}, {"files": {XTC: frozenset({"S3DF"})}}, True),
        (
            {"trigger": "ALL_FILES_TRANSFERRED", "location": "NERSC"},
            {"files": {XTC: frozenset({"NERSC"})}, "end_time": BEGIN},
            True,
        ),
        (
            {"trigger": "RUN_PARAM_IS_VALUE", "run_param_name": "SmallData",
             "run_param_value": "done"},
            {"params": frozenset({("SmallData", "done")})},
            True,
        ),
        (
            {"trigger": "RUN_PARAM_IS_VALUE", "run_param_name": "SmallData",
             "run_param_value": "done"},
            {"params": frozenset({("SmallData", "running")})},
            False,
        ),
    ],
)  # fmt: skip
def test_which_run_fits(streamer_text, rule, facts, fits):
    rules = book(streamer_text, **rule)
    unseen = RunRecord("mfxx00126", 17, "MFX")
    assert (rules.newly_fitting(unseen, record(**facts)) is not None) is fits


def test_a_rule_that_fitted_before_does_not_fit_anew(streamer_text):
    rules = book(streamer_text)
    assert rules.newly_fitting(record(), record(end_time=BEGIN)) is None


def test_the_first_rule_that_fits_counts(streamer_text):
    rules = parse_rules(
        f"rules:\n  - name: first\n    instruments: [CXI]\n    request:{streamer_text}"
        f"  - name: second\n    request:{streamer_text}"
    )
    rule = rules.newly_fitting(RunRecord("mfxx00126", 17, "MFX"), record())
    assert rule is not None
    assert rule.name == "second"


def test_old_runs_are_left_alone(streamer_text):
    rules = parse_rules(f"max_age: 30min\nrules:\n  - name: r\n    request:{streamer_text}")
    assert not rules.is_too_old(record(), BEGIN + timedelta(minutes=29))
    assert rules.is_too_old(record(), BEGIN + timedelta(minutes=31))
    assert not rules.is_too_old(record(begin_time=None))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("{experiment},run", "{experimnt},run"), "unknown placeholder {experimnt}"),
        (("ranks: 2", "rank: 2"), "rank: Extra inputs are not permitted"),
        (("Psana2EventSource", "Psana2EventSorce"), "Psana2EventSorce"),
        (("- name: mfx", "- nam: mfx"), "did you mean 'name'?"),
        (("max_age: 1h", "max_age: soon"), "is not a duration"),
        (("ranks: 2", "ranks: two"), "ranks"),
        (("name: mfx", "name: mfx\n    trigger: START"), "START_OF_RUN"),
        (("name: mfx", "name: mfx\n    trigger: RUN_PARAM_IS_VALUE"), "needs run_param_name"),
    ],
)
def test_mistakes_are_found_when_the_file_is_read(rules_text, change, words):
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(rules_text.replace(*change), name="rules.yaml")
    assert words in caught.value.render()
    assert "rules.yaml:" in caught.value.render()
