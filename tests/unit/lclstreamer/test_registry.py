"""Every class that a configuration can name is there."""

from __future__ import annotations

from typing import get_args

import pytest

from lclstreamer.core.errors import ConfigurationError, MissingDependencyError
from lclstreamer.parameters.configuration import CLASSES as PARAMETER_CLASSES
from lclstreamer.registry import CLASSES, Kind, find_class, names_of

SECTION_OF = {
    "event_source": "event_source",
    "data_source": "data_sources",
    "pipeline": "processing_pipeline",
    "serializer": "data_serializer",
    "handler": "data_handlers",
}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_parameters_and_classes_name_the_same(kind):
    assert set(CLASSES[kind]) == PARAMETER_CLASSES[SECTION_OF[kind]]


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in CLASSES for n in CLASSES[k]])
def test_every_class_can_be_imported(kind, name):
    assert isinstance(find_class(kind, name), type)


def test_an_unknown_name_gets_the_list():
    with pytest.raises(ConfigurationError, match="no handler of type 'X'") as caught:
        find_class("handler", "X")
    assert "BinaryFileWritingDataHandler" in caught.value.mend


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(CLASSES["handler"], "X", "not_installed_anywhere:X")
    with pytest.raises(MissingDependencyError, match="not_installed_anywhere"):
        find_class("handler", "X")


def test_classes_of_other_distributions_are_found(monkeypatch):
    from importlib.metadata import EntryPoint

    from lclstreamer import registry

    entry = EntryPoint("Counter", "collections:Counter", "lclstreamer.handlers")
    monkeypatch.setattr(
        registry, "installed_kinds", lambda kind: {"Counter": entry} if kind == "handler" else {}
    )
    assert find_class("handler", "Counter").__name__ == "Counter"
    assert names_of("handler")[-1] == "Counter"
