"""Kinds from other distributions: their parameters take part in the validation.

A distribution offers a class under its name in one of the entry-point groups below. The class has
a pydantic model in its attribute ``parameters_model``; a section whose ``type`` is that name is
validated by that model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import BaseModel, ValidatorFunctionWrapHandler

GROUPS = {
    "event_source": "lclstreamer.event_sources",
    "data_source": "lclstreamer.data_sources",
    "pipeline": "lclstreamer.pipelines",
    "serializer": "lclstreamer.serializers",
    "handler": "lclstreamer.handlers",
}
"""Kind of class → entry-point group."""


@functools.cache
def installed_kinds(kind: str) -> dict[str, EntryPoint]:
    """The classes of one kind that other distributions offer, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUPS[kind])}


def accepting_third_parties(
    kind: str, own_names: frozenset[str]
) -> Callable[[Any, ValidatorFunctionWrapHandler], Any]:
    """Make a validator that hands a section to the class of another distribution it names."""

    def _validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        name = value.get("type") if isinstance(value, dict) else None
        if not isinstance(name, str) or name in own_names or name not in installed_kinds(kind):
            return handler(value)
        model: type[BaseModel] = installed_kinds(kind)[name].load().parameters_model
        return model.model_validate(value)

    return _validate
