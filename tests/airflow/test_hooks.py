"""The hook to jobs, and the small parts beside it."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import yaml

from lclstreamer.core.errors import BadInputError, ConfigurationError, TemporaryError


@pytest.fixture
def hook(site):
    from airflow_provider_lclstream.hooks.psik import PsikHook

    return PsikHook()


def test_without_a_connection_the_site_file_counts(hook, site):
    assert hook.access.where == str(site)
    assert hook.get_conn() is hook.access


def test_a_connection_that_was_named_has_to_be_there(monkeypatch):
    from airflow_provider_lclstream.hooks.psik import PsikHook

    with pytest.raises(ConfigurationError, match="there is no connection 'typo'"):
        _ = PsikHook("typo").access
    monkeypatch.setenv("AIRFLOW_CONN_TYPO", json.dumps({"conn_type": "http", "host": "h"}))
    with pytest.raises(ConfigurationError, match="has the type 'http'"):
        _ = PsikHook("typo").access


def test_a_connection_may_name_another_site_and_folder(site, tmp_path, monkeypatch):
    from airflow_provider_lclstream.hooks.psik import PsikHook

    (tmp_path / "site.yaml").write_text(
        yaml.safe_dump({"psik": {"prefix": str(tmp_path / "a")}, "host": "10.0.0.1"})
    )
    extra = {"site_file": str(tmp_path / "site.yaml")}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({"conn_type": "psik", "extra": extra}))
    other = PsikHook("other")
    assert (other.site.host, other.access.where) == ("10.0.0.1", str(tmp_path / "a"))
    extra["prefix"] = str(tmp_path / "b")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({"conn_type": "psik", "extra": extra}))
    assert PsikHook("other").access.where == str(tmp_path / "b")


def test_a_folder_of_jobs_that_hangs_keeps_no_other_from_being_opened(site, tmp_path, monkeypatch):
    from airflow_provider_lclstream.hooks.psik import PsikHook
    from airflow_provider_lclstream.psik.store import JobStore

    open_store, is_opening, may_open = JobStore.__init__, threading.Event(), threading.Event()

    def opening(store, prefix, backends):
        if prefix.name == "hangs":
            is_opening.set()
            assert may_open.wait(30)
        open_store(store, prefix, backends)

    hooks = {}
    for name in ("hangs", "quick"):
        extra = {"prefix": str(tmp_path / name)}
        connection = json.dumps({"conn_type": "psik", "extra": extra})
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", connection)
        hooks[name] = PsikHook(name)
        _ = hooks[name].site  # as in a triggerer: what the connection says is known
    monkeypatch.setattr(JobStore, "__init__", opening)
    with ThreadPoolExecutor(2) as pool:
        hanging = pool.submit(hooks["hangs"]._open_async)
        assert is_opening.wait(20)
        try:
            assert pool.submit(hooks["quick"]._open_async).result(10) is not None
        finally:
            may_open.set()
        assert hanging.result(20) is not None


def test_the_connection_can_be_tested(hook, tmp_path, monkeypatch):
    from airflow_provider_lclstream.hooks.psik import PsikHook

    ok, message = hook.test_connection()
    assert ok
    assert "local (local)" in message
    (tmp_path / "file").write_text("")
    extra = {"prefix": str(tmp_path / "file" / "below")}
    monkeypatch.setenv("AIRFLOW_CONN_BAD", json.dumps({"conn_type": "psik", "extra": extra}))
    ok, message = PsikHook("bad").test_connection()
    assert not ok
    assert "cannot be made" in message


def test_result_files_must_be_json_of_bounded_size(hook):
    from airflow_provider_lclstream.hooks.job_results import read_json, result_files
    from airflow_provider_lclstream.psik.models import JobSpec

    files = {"good.json": '{"a": 1}', "below/b.json": "2", "below/deep/c.json": "3"}
    spec = JobSpec(script=":", backend="local")
    jobid = hook.access.create(spec, files=files, submit=False).jobid
    found = {"good.json": {"a": 1}, "below/b.json": 2, "below/deep/c.json": 3}
    for patterns, names in (
        (["*.json"], ["good.json"]),
        (["good.json", "*.json"], ["good.json"]),
        (["absent*", "absent.json"], []),
        (["below/*.json"], ["below/b.json"]),
        (["**/*.json"], list(found)),
        (["below/**/[bc].json"], ["below/b.json", "below/deep/c.json"]),
    ):
        read = result_files(hook.access, jobid, patterns, 100)
        assert read == {name: found[name] for name in names}, patterns
    with pytest.raises(BadInputError, match="more than 5 B"):
        result_files(hook.access, jobid, ["*.json"], 5)
    bad = {"bad.json": "{", "long.json": " " * 1_000_001}
    jobid = hook.access.create(spec, files=bad, submit=False).jobid
    with pytest.raises(BadInputError, match="not JSON"):
        result_files(hook.access, jobid, ["bad*"], 100)
    with pytest.raises(BadInputError, match="has no file"):
        read_json(hook.access, jobid, "absent.json")
    with pytest.raises(BadInputError, match="longer than"):
        read_json(hook.access, jobid, "long.json")


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
