"""Every example configuration of the documentation is one that the programs accept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"


def load_streamer(path: Path) -> None:
    from lclstreamer.parameters.configuration import load_configuration

    load_configuration(path)


def load_site(path: Path) -> None:
    from airflow_provider_lclstream.transfer.site import load_site

    load_site(path)


def load_rules(path: Path) -> None:
    from airflow_provider_lclstream.arp.rules import RuleBook
    from lclstreamer.core.config_file import load_model

    load_model(path, RuleBook)


def load_transfer(path: Path) -> None:
    from airflow_provider_lclstream.transfer.models import TransferRequest

    TransferRequest.model_validate(json.loads(path.read_text()))


def load_service(path: Path) -> None:
    from airflow_provider_lclstream.psik_api.settings import ServiceConfig
    from lclstreamer.core.config_file import load_model

    load_model(path, ServiceConfig)


def load_program(path: Path) -> None:
    # tests/integration runs it; here it has to be Python.
    compile(path.read_text(), path, "exec")


def load_dag(path: Path) -> None:
    # tests/airflow runs it; here it has to be Python.
    compile(path.read_text(), path, "exec")


LOADERS = {
    "callback": load_program,
    "service": load_service,
    "dag": load_dag,
    "streamer": load_streamer,
    "site": load_site,
    "rules": load_rules,
    "transfer": load_transfer,
}


FILES = sorted(path for path in EXAMPLES.iterdir() if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_accepted(path):
    LOADERS[path.name.split("-")[0]](path)
