"""Where psik.json is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_lclstream.psik.config import find_config
from airflow_provider_lclstream.psik.models import SERVICE_KEYS, PsikConfig
from airflow_provider_lclstream.psik_api.settings import ServiceConfig
from lclstreamer.core.errors import ConfigurationError


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    places = {
        "VIRTUAL_ENV": tmp_path / "venv" / "etc",
        "XDG_CONFIG_HOME": tmp_path / "xdg",
        "PSIK_CONFIG": tmp_path / "named",
    }
    monkeypatch.delenv("PSIK_CONFIG", raising=False)
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "venv"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for folder in places.values():
        folder.mkdir(parents=True)
    return places


def _write(folder: Path, prefix: str) -> Path:
    path = folder / "psik.json"
    path.write_text(f'{{"prefix": "{prefix}"}}')
    return path


def test_without_a_file_jobs_run_here(places: dict[str, Path], tmp_path: Path) -> None:
    config = find_config()
    assert config.prefix == tmp_path / "state" / "lclstream" / "jobs"
    assert config.backends["default"].type == "local"


def test_the_nearer_file_wins(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(places["XDG_CONFIG_HOME"], "/xdg")
    assert find_config().prefix == Path("/xdg")
    _write(places["VIRTUAL_ENV"], "/venv")
    assert find_config().prefix == Path("/venv")
    monkeypatch.setenv("PSIK_CONFIG", str(_write(places["PSIK_CONFIG"], "/named")))
    assert find_config().prefix == Path("/named")
    assert find_config(_write(tmp_path, "/explicit")).prefix == Path("/explicit")


def test_a_named_file_that_is_missing_is_told(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PSIK_CONFIG", "/nowhere/psik.json")
    with pytest.raises(ConfigurationError, match="cannot read"):
        find_config()


def test_mistakes_are_located(tmp_path: Path) -> None:
    path = tmp_path / "psik.yaml"
    path.write_text("prefix: /x\nbackends:\n  a: {type: local, queue_nam: q}\n")
    with pytest.raises(ConfigurationError) as caught:
        find_config(path)
    assert "psik.yaml:3:" in caught.value.render()
    assert "did you mean 'queue_name'" in caught.value.render()


def test_a_services_file_is_read_without_what_is_the_services(tmp_path: Path) -> None:
    assert set(ServiceConfig.model_fields) - set(PsikConfig.model_fields) == SERVICE_KEYS
    path = tmp_path / "psik.yaml"
    path.write_text(f"prefix: {tmp_path}\npolicy: {{rules: []}}\nmax_body: 1 MiB\n")
    assert find_config(path).prefix == tmp_path
    assert find_config(path, ServiceConfig).max_body == 2**20
