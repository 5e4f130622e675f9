"""What Airflow is told about the provider is true, and fits Airflow's own schema."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from airflow_provider_lclstream.get_provider_info import get_provider_info

INFO = get_provider_info()


def test_it_fits_the_schema():
    import airflow
    import jsonschema

    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)
    assert set(INFO) <= set(schema["properties"])


def test_it_is_found_without_importing_airflow():
    program = (
        "import sys\n"
        "from importlib.metadata import entry_points\n"
        "points = entry_points(group='apache_airflow_provider')\n"
        "found = next(point for point in points if 'lclstream' in point.value)\n"
        "assert found.load()()['package-name'] == 'airflow-provider-lclstream'\n"
        "assert 'airflow' not in sys.modules, 'imports Airflow'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def _modules():
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for group in INFO[kind]:
            for module in group["python-modules"]:
                yield kind, module


@pytest.mark.parametrize(("kind", "module"), list(_modules()))
def test_every_module_holds_what_it_is_listed_for(kind, module):
    from airflow.sdk import BaseHook, BaseOperator, BaseSensorOperator
    from airflow.triggers.base import BaseTrigger

    base = {
        "hooks": BaseHook,
        "operators": BaseOperator,
        "sensors": BaseSensorOperator,
        "triggers": BaseTrigger,
    }[kind]
    found = importlib.import_module(module)
    assert [
        name
        for name, value in vars(found).items()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module
    ]


def test_every_operator_and_trigger_of_ours_is_listed(repository):
    from airflow.sdk import BaseOperator
    from airflow.triggers.base import BaseTrigger

    listed = {module for _, module in _modules()}
    missing = set()
    for folder, base in (
        ("operators", BaseOperator), ("sensors", BaseOperator), ("triggers", BaseTrigger)
    ):  # fmt: skip
        for path in (repository / "airflow_provider_lclstream" / folder).glob("[!_]*.py"):
            module = importlib.import_module(f"airflow_provider_lclstream.{folder}.{path.stem}")
            missing |= {
                value.__name__
                for value in vars(module).values()
                if inspect.isclass(value) and issubclass(value, base)
                if value.__module__ == module.__name__ and module.__name__ not in listed
            }
    assert missing == {"JobWaitingOperator"}, "it is a base, of no use by itself"


def test_classes_that_are_named_exist():
    from airflow._shared.module_loading import import_string

    for connection in INFO["connection-types"]:
        hook = import_string(connection["hook-class-name"])
        assert (hook.conn_type, hook.hook_name) == (
            connection["connection-type"], connection["hook-name"]
        )  # fmt: skip
    for path in INFO["extra-links"] + [plugin["plugin-class"] for plugin in INFO["plugins"]]:
        assert inspect.isclass(import_string(path))


def test_both_entry_points_are_declared():
    # The plugin named in the provider information alone is not loaded (lazy_load_providers).
    provider = {point.value for point in entry_points(group="apache_airflow_provider")}
    plugins = {point.value for point in entry_points(group="airflow.plugins")}
    assert "airflow_provider_lclstream.get_provider_info:get_provider_info" in provider
    assert "airflow_provider_lclstream.plugin:LCLStreamPlugin" in plugins


def test_the_version_of_options_is_one_of_ours(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    for option in INFO["config"]["lclstream"]["options"].values():
        assert option["version_added"] <= project["version"]
        assert isinstance(option["default"], str)


def test_options_have_their_defaults_and_are_read(monkeypatch):
    from airflow_provider_lclstream.hooks.settings import number, setting, words
    from lclstreamer.core.errors import ConfigurationError

    assert number("max_active_transfers") == 8
    assert words("run_event_topics")[0] == "runs"
    monkeypatch.setenv("AIRFLOW__LCLSTREAM__RUN_EVENT_TOPICS", " a , b,")
    monkeypatch.setenv("AIRFLOW__LCLSTREAM__SWEEP_INTERVAL", "often")
    assert words("run_event_topics") == ["a", "b"]
    assert setting("elog_conn_id") == "lclstream_elog"
    with pytest.raises(ConfigurationError, match="sweep_interval is 'often'"):
        number("sweep_interval")


def test_every_option_is_used_and_every_option_that_is_used_exists(repository):
    sources = [
        path.read_text()
        for folder in ("airflow_provider_lclstream", "dags")
        for path in (repository / folder).rglob("*.py")
        if path.name != "get_provider_info.py"
    ]
    for option in INFO["config"]["lclstream"]["options"]:
        assert any(f'"{option}"' in source for source in sources), option
