"""Where the configuration of jobs comes from.

The first of these that is there: ``--config``, ``$PSIK_CONFIG``, ``$VIRTUAL_ENV/etc/psik.json``,
``$XDG_CONFIG_HOME/psik.json`` (``~/.config/psik.json``), ``/etc/psik.json``. Where none is, jobs
lie under ``$XDG_STATE_HOME/lclstream/jobs`` (``~/.local/state/lclstream/jobs``) and one backend,
called ``default``, runs them on this machine. YAML is read as well as JSON.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, overload

from airflow_provider_lclstream.psik.models import BackendConfig, PsikConfig
from lclstreamer.core.config_file import load_model

CONFIG_VARIABLE = "PSIK_CONFIG"
CONFIG_NAME = "psik.json"
Config = TypeVar("Config", bound=PsikConfig)


@overload
def find_config(explicit: Path | str | None = None) -> PsikConfig: ...


@overload
def find_config(explicit: Path | str | None, kind: type[Config]) -> Config: ...


def find_config(
    explicit: Path | str | None = None, kind: type[PsikConfig] = PsikConfig
) -> PsikConfig:
    """Read the configuration that applies here, or the default one.

    Args:
        explicit: the file that ``--config`` named.
        kind: the model to read it into; a service's knows more.

    Raises:
        ConfigurationError: the file that was named is missing, or the one found is wrong.
    """
    named = explicit or os.environ.get(CONFIG_VARIABLE)
    if named:
        return load_model(named, kind)
    for path in candidates(os.environ):
        if path.is_file():
            return load_model(path, kind)
    return kind.model_validate(default_config(os.environ).model_dump())


def candidates(environment: Mapping[str, str]) -> list[Path]:
    """Where a configuration is looked for when none was named, in order."""
    paths = [
        _home(environment, "XDG_CONFIG_HOME", ".config") / CONFIG_NAME,
        Path("/etc") / CONFIG_NAME,
    ]
    if environment.get("VIRTUAL_ENV"):
        paths.insert(0, Path(environment["VIRTUAL_ENV"]) / "etc" / CONFIG_NAME)
    return paths


def default_config(environment: Mapping[str, str]) -> PsikConfig:
    """What applies where there is no configuration: this machine, and a folder of the user's."""
    state = _home(environment, "XDG_STATE_HOME", ".local/state")
    return PsikConfig(
        prefix=state / "lclstream" / "jobs", backends={"default": BackendConfig(type="local")}
    )


def _home(environment: Mapping[str, str], variable: str, below_home: str) -> Path:
    named = environment.get(variable)
    return Path(named) if named else Path.home() / below_home
