"""Type name in a configuration → the class that does it, imported when it is used.

Other distributions add classes through the entry-point groups ``lclstreamer.event_sources``,
``.data_sources``, ``.pipelines``, ``.serializers`` and ``.handlers``; such a class carries its
pydantic model in ``parameters_model``.
"""

from __future__ import annotations

import importlib
from typing import Any, Literal

from lclstreamer.core.errors import ConfigurationError, MissingDependencyError
from lclstreamer.parameters.third_party import installed_kinds

Kind = Literal["event_source", "data_source", "pipeline", "serializer", "handler"]

CLASSES: dict[Kind, dict[str, str]] = {
    "event_source": {
        "InternalEventSource": "lclstreamer.event_sources.internal",
        "Psana1EventSource": "lclstreamer.event_sources.psana1",
        "Psana2EventSource": "lclstreamer.event_sources.psana2",
        "Hdf5EventSource": "lclstreamer.event_sources.hdf5",
    },
    "data_source": {
        "GenericRandomNumpyArray": "lclstreamer.data_sources.generic",
        "ConstValue": "lclstreamer.data_sources.generic",
        "FloatValue": "lclstreamer.data_sources.generic:ConstValue",
        "IntValue": "lclstreamer.data_sources.generic:ConstValue",
        "SourceIdentifier": "lclstreamer.data_sources.generic",
        "EventId": "lclstreamer.data_sources.generic",
        "Hdf5Dataset": "lclstreamer.data_sources.hdf5",
        "Psana1DetectorInterface": "lclstreamer.data_sources.psana1:Psana1Data",
        "Psana1Timestamp": "lclstreamer.data_sources.psana1:Psana1Data",
        "Psana2DetectorInterface": "lclstreamer.data_sources.psana2",
        "Psana2Timestamp": "lclstreamer.data_sources.psana2",
        "Psana2RunInfo": "lclstreamer.data_sources.psana2",
    },
    "pipeline": {
        "BatchProcessingPipeline": "lclstreamer.pipelines.batch",
        "NoOpProcessingPipeline": "lclstreamer.pipelines.batch",
        "PeaknetPreprocessingPipeline": "lclstreamer.pipelines.peaknet",
    },
    "serializer": {
        "Hdf5Serializer": "lclstreamer.serializers.hdf5",
        "NumpyBinarySerializer": "lclstreamer.serializers.npz",
        "MsgpackBinarySerializer": "lclstreamer.serializers.msgpack",
        "SimplonBinarySerializer": "lclstreamer.serializers.simplon",
    },
    "handler": {
        "BinaryFileWritingDataHandler": "lclstreamer.handlers.files",
        "BinaryDataStreamingDataHandler": "lclstreamer.handlers.streaming",
    },
}
"""Kind → canonical type name → module, with the class's name where it is another one."""


def find_class(kind: Kind, name: str) -> type[Any]:
    """Import the class behind a type name.

    Raises:
        ConfigurationError: there is no such class.
        MissingDependencyError: a package that it needs is not installed.
    """
    try:
        if name in CLASSES[kind]:
            module, _, attribute = CLASSES[kind][name].partition(":")
            return getattr(importlib.import_module(module), attribute or name)
        if name in installed_kinds(kind):
            return installed_kinds(kind)[name].load()
    except ImportError as error:
        raise MissingDependencyError(
            f"{name} needs a package that is not installed: {error}",
            mend="install the extra 'streamer', or the distribution that brings the class",
        ) from error
    raise ConfigurationError(
        f"there is no {kind.replace('_', ' ')} of type {name!r}",
        mend=f"take one of {', '.join(names_of(kind))}",
    )


def names_of(kind: Kind) -> list[str]:
    """The type names of one kind, ours first, then those of other distributions."""
    return [*CLASSES[kind], *sorted(installed_kinds(kind).keys() - CLASSES[kind].keys())]
