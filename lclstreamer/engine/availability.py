"""What of a configuration this machine can run, without reading anything."""

from __future__ import annotations

from typing import get_args

from lclstreamer.core.errors import LCLStreamError
from lclstreamer.parameters.configuration import StreamerConfiguration
from lclstreamer.registry import Kind, find_class, names_of


def why_unavailable(configuration: StreamerConfiguration) -> list[str]:
    """One sentence for everything the configuration names that cannot be used here."""
    used: list[tuple[Kind, str]] = [
        ("event_source", configuration.event_source.type),
        *(("data_source", source.type) for source in configuration.data_sources.values()),
        ("pipeline", configuration.processing_pipeline.type),
        ("serializer", configuration.data_serializer.type),
        *(("handler", handler.type) for handler in configuration.data_handlers),
    ]
    found = [lacking(kind, name) for kind, name in dict.fromkeys(used)]
    return [text for text in dict.fromkeys(found) if text]


def lacking(kind: Kind, name: str) -> str | None:
    """Why a class cannot be used here; None if it can."""
    try:
        found = find_class(kind, name)
    except LCLStreamError as error:
        return error.problem
    ask = getattr(found, "why_unavailable", None)
    return None if ask is None else ask()


def list_classes() -> dict[str, dict[str, str | None]]:
    """Kind → class name → why it cannot be used here, or None."""
    return {kind: {name: lacking(kind, name) for name in names_of(kind)} for kind in get_args(Kind)}
