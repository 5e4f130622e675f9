"""``lclstream psik serve --check``: what is wrong with a service, before it is started."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_lclstream.psik.backends import open_backend
from airflow_provider_lclstream.psik_api.policy import fits
from airflow_provider_lclstream.psik_api.settings import ServiceConfig
from lclstreamer.core.errors import LCLStreamError

if TYPE_CHECKING:
    from pydantic import BaseModel

PROGRAMS = {"slurm": ("sbatch", "squeue", "sacct", "scancel")}
"""What a kind of backend calls on this machine."""


def problems_of(config: ServiceConfig) -> list[str]:
    """Everything that would not work, or not as it was meant; reads and starts nothing."""
    return [*_of_prefix(config), *_of_backends(config), *_of_rules(config)]


def _of_prefix(config: ServiceConfig) -> Iterator[str]:
    if not config.prefix.is_dir():
        yield f"prefix: there is no folder {config.prefix}"


def _of_backends(config: ServiceConfig) -> Iterator[str]:
    for name, backend in config.backends.items():
        try:
            settings = getattr(open_backend(name, backend, config.prefix), "settings", None)
        except LCLStreamError as error:
            yield f"backend {name}: {error.problem}"
            continue
        missing = [each for each in PROGRAMS.get(backend.type, ()) if not shutil.which(each)]
        if missing:
            yield f"backend {name}: this machine has no {', '.join(missing)} on its PATH"
        if settings is not None:
            yield from _of_attributes(name, backend.attributes, settings)


def _of_attributes(name: str, attributes: Any, settings: BaseModel) -> Iterator[str]:
    known = _names_of(settings)
    for attribute in attributes:
        if attribute not in known and not attribute.startswith("-"):
            close = difflib.get_close_matches(attribute, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
            yield f"backend {name}: there is no attribute {attribute!r} ({hint})"


def _names_of(settings: BaseModel) -> list[str]:
    names = list[str]()
    for name, field in type(settings).model_fields.items():
        choices = getattr(field.validation_alias, "choices", [field.validation_alias or name])
        names += [str(choice) for choice in choices]
    return names


def _of_rules(config: ServiceConfig) -> Iterator[str]:
    for number, rule in enumerate(config.policy.rules, 1):
        for pattern in rule.backends:
            if not any(fits(name, [pattern]) for name in config.backends):
                yield f"rule {number}: no backend is called {pattern!r}"
