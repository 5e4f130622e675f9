"""The provider's options in Airflow's configuration, section ``[lclstream]``."""

from __future__ import annotations

from airflow.sdk import conf

from airflow_provider_lclstream.get_provider_info import get_provider_info
from lclstreamer.core.errors import ConfigurationError

SECTION = "lclstream"
_OPTIONS = get_provider_info()["config"][SECTION]["options"]


def setting(name: str) -> str:
    """Return one option as text; what is not set has the default of the provider information."""
    return str(conf.get(SECTION, name, fallback=_OPTIONS[name]["default"])).strip()


def number(name: str) -> float:
    """Return one option as a number."""
    text = setting(name)
    try:
        return float(text)
    except ValueError as error:
        raise ConfigurationError(
            f"the option [{SECTION}] {name} is {text!r}, which is not a number",
            mend=f"set it to a number: {_OPTIONS[name]['description']}",
        ) from error


def words(name: str) -> list[str]:
    """Return one option as a list of texts, which stand there separated by commas."""
    return [word.strip() for word in setting(name).split(",") if word.strip()]
