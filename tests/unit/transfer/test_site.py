"""A site's settings: defaults of one machine, a file, mistakes in it."""

import sys
from pathlib import Path

import pytest

from airflow_provider_lclstream.transfer.site import SITE_FILE_VARIABLE, load_site
from lclstreamer.core.errors import ConfigurationError


def test_the_defaults_are_one_machine(monkeypatch, tmp_path):
    monkeypatch.delenv(SITE_FILE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    site = load_site()
    assert site.psik.prefix == tmp_path / "lclstream" / "jobs"
    assert site.programs == Path(sys.prefix) / "bin"
    assert site.host == "127.0.0.1"
    assert "{size}" in site.launcher


def test_a_file_is_found_by_the_environment(monkeypatch, tmp_path):
    file = tmp_path / "site.yaml"
    file.write_text(
        "psik: {prefix: /jobs, backends: {milano: {type: slurm, queue_name: milano}}}\n"
        "host: sdfdtn001\nport_range: 30000-30100\nlauncher: [srun, -n, '{size}']\n"
    )
    monkeypatch.setenv(SITE_FILE_VARIABLE, str(file))
    site = load_site()
    assert site.psik.backends["milano"].queue_name == "milano"
    assert site.port_range == "30000-30100"


def test_every_mistake_is_shown_with_its_place(tmp_path):
    file = tmp_path / "site.yaml"
    file.write_text("hots: x\nport_range: 30100-30000\nlauncher: [mpirun]\n")
    with pytest.raises(ConfigurationError) as caught:
        load_site(file)
    text = caught.value.render()
    assert "site.yaml:1:1: hots: unknown key 'hots' (did you mean 'host'?)" in text
    assert "site.yaml:2:13" in text
    assert "must contain {size}" in text
