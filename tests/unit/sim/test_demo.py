"""What the demo says before it starts anything."""

from __future__ import annotations

import importlib.util

import pytest

from airflow_provider_lclstream.sim import demo
from lclstreamer.core.errors import MissingDependencyError, OutputError


def test_missing_packages_are_all_named_at_once(monkeypatch, tmp_path):
    real = importlib.util.find_spec
    gone = {"matplotlib", "confluent_kafka"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in gone else real(name)
    )
    with pytest.raises(MissingDependencyError, match="confluent_kafka, matplotlib") as caught:
        demo.run_demo(demo.DemoSettings(folder=tmp_path / "demo"))
    assert "pip install" in caught.value.mend
    assert not (tmp_path / "demo").exists()


def test_a_folder_in_an_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        demo.run_demo(demo.DemoSettings(folder=tmp_path / "file" / "demo"))


def test_only_a_complete_result_exits_with_0():
    assert demo.exit_code_of({"state": "completed"}) == 0
    assert demo.exit_code_of({"state": "failed"}) == 74
