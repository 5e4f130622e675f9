"""The hook to jobs, and the small parts beside it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import yaml

from lclstreamer.core.errors import BadInputError, ConfigurationError, TemporaryError


@pytest.fixture
def hook(site):
    from airflow_provider_lclstream.hooks.psik import PsikHook

    return PsikHook()


def test_without_a_connection_the_site_file_counts(hook, site):
    assert hook.store.prefix == site
    assert hook.get_conn() is hook.store


def test_a_connection_may_name_another_site_and_folder(site, tmp_path, monkeypatch):
    from airflow_provider_lclstream.hooks.psik import PsikHook

    (tmp_path / "site.yaml").write_text(
        yaml.safe_dump({"psik": {"prefix": str(tmp_path / "a")}, "host": "10.0.0.1"})
    )
    extra = {"site_file": str(tmp_path / "site.yaml")}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({"conn_type": "psik", "extra": extra}))
    other = PsikHook("other")
    assert (other.site.host, other.store.prefix) == ("10.0.0.1", tmp_path / "a")
    extra["prefix"] = str(tmp_path / "b")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({"conn_type": "psik", "extra": extra}))
    assert PsikHook("other").store.prefix == tmp_path / "b"


def test_the_connection_can_be_tested(hook, tmp_path, monkeypatch):
    from airflow_provider_lclstream.hooks.psik import PsikHook

    ok, message = hook.test_connection()
    assert ok
    assert "jobs" in message
    (tmp_path / "file").write_text("")
    extra = {"prefix": str(tmp_path / "file" / "below")}
    monkeypatch.setenv("AIRFLOW_CONN_BAD", json.dumps({"conn_type": "psik", "extra": extra}))
    ok, message = PsikHook("bad").test_connection()
    assert not ok
    assert "cannot be made" in message


def test_result_files_must_be_json_objects_of_bounded_size(hook, tmp_path):
    job = SimpleNamespace(work=tmp_path)
    (tmp_path / "good.json").write_text('{"a": 1}')
    assert hook.result_files(job, ["*.json"], 100) == {"good.json": {"a": 1}}
    assert hook.result_files(job, ["absent*"], 100) == {}
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(BadInputError, match="not JSON"):
        hook.result_files(job, ["*.json"], 100)
    with pytest.raises(BadInputError, match="No such file"):
        hook.read_json(job, "absent.json")
    (tmp_path / "long.json").write_text(" " * 1_000_001)
    with pytest.raises(BadInputError, match="longer than"):
        hook.read_json(job, "long.json")


def test_errors_become_airflows_with_their_meaning():
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    from airflow_provider_lclstream.hooks.failures import airflow_failures

    with pytest.raises(AirflowFailException, match="mend: do this"), airflow_failures():
        raise BadInputError("it is bad", mend="do this")
    with pytest.raises(AirflowException) as failed, airflow_failures():
        raise TemporaryError("not now", mend="wait")
    assert not isinstance(failed.value, AirflowFailException)
    with pytest.raises(KeyError), airflow_failures():
        raise KeyError("anything else passes")


@pytest.mark.parametrize(
    ("host", "schema", "port", "url"),
    [
        ("airflow.example.org", None, None, "http://airflow.example.org"),
        ("airflow.example.org", "https", 443, "https://airflow.example.org:443"),
        ("https://airflow.example.org/", None, None, "https://airflow.example.org"),
        ("http://127.0.0.1", "ignored", 8080, "http://127.0.0.1:8080"),
    ],
)
def test_urls_of_connections(host, schema, port, url):
    from airflow_provider_lclstream.hooks.airflow_api import base_url

    assert base_url(SimpleNamespace(host=host, schema=schema, port=port)) == url


def test_a_connection_without_a_password_is_told():
    from airflow_provider_lclstream.hooks.airflow_api import airflow_client

    connection = SimpleNamespace(
        conn_id="api", host="h", schema=None, port=None, login="arp", password=None
    )
    with pytest.raises(ConfigurationError, match="'api' has no password"):
        airflow_client(connection)
    connection.password = "hidden-word"
    assert "hidden-word" not in repr(airflow_client(connection).__dict__)
