"""The credentials file, and what a client never shows."""

from __future__ import annotations

import json

import pytest

from airflow_provider_lclstream.arp.airflow_client import (
    CREDENTIALS_VARIABLE,
    URL_VARIABLE,
    Credentials,
    client_from_environment,
    load_credentials,
)
from lclstreamer.core.errors import ConfigurationError


def test_a_private_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({"username": "arp", "password": "secret"}))
    path.chmod(0o600)
    assert load_credentials(path) == Credentials("arp", "secret")
    assert "secret" not in repr(load_credentials(path))
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:8080/")
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(path))
    assert client_from_environment().base_url == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ('{"username": "a", "password": "b"}', 0o644, "other users can read"),
        ('{"username": "a"}', 0o600, "lack username or password"),
        ("[]", 0o600, "lack username or password"),
        ("not json", 0o600, "cannot read"),
    ],
)
def test_other_files_are_refused_with_the_mend(tmp_path, text, mode, words):
    path = tmp_path / "credentials.json"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=words):
        load_credentials(path)


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.delenv(CREDENTIALS_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=f"{URL_VARIABLE} and {CREDENTIALS_VARIABLE}"):
        client_from_environment()
    with pytest.raises(ConfigurationError, match="No such file"):
        load_credentials(tmp_path / "absent")
