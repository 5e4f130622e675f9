"""What no section can see alone: whether pipeline, serializer and handlers fit together."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from lclstreamer.parameters.handlers import BinaryFileWritingDataHandlerParameters
from lclstreamer.parameters.pipelines import (
    NoOpProcessingPipelineParameters,
    PeaknetPreprocessingPipelineParameters,
)
from lclstreamer.parameters.serializers import (
    EVENT_IDS_PATH,
    RESERVED_NAMES,
    Hdf5SerializerParameters,
    MsgpackBinarySerializerParameters,
    NumpyBinarySerializerParameters,
    SimplonBinarySerializerParameters,
    canonical_path,
)

SIMPLON_SOURCES = ("timestamp", "detector_data", "detector_geometry", "run_info")
"""The data sources that a Simplon stream is made of."""


@dataclass(frozen=True)
class Misfit:
    """A mistake that lies between sections.

    Attributes:
        path: the keys that lead to it from the top of the configuration.
        what: the mistake in words.
        suggestion: what was probably meant, or None.
    """

    path: tuple[str | int, ...]
    what: str
    suggestion: str | None = None


def find_misfits(
    names: Collection[str],
    pipeline: BaseModel,
    serializer: BaseModel,
    handlers: Sequence[BaseModel],
) -> list[Misfit]:
    """List everything in a configuration's sections that contradicts another section.

    Args:
        names: the data sources.
        pipeline: the parameters of the pipeline.
        serializer: the parameters of the serializer.
        handlers: the parameters of the handlers.
    """
    return [
        *_unknown_sources(names, pipeline, serializer),
        *_unusable_names(names, serializer),
        *_wrong_batches(pipeline, serializer),
        *_clashing_files(handlers),
    ]


def _unknown_sources(
    names: Collection[str], pipeline: BaseModel, serializer: BaseModel
) -> Iterator[Misfit]:
    if isinstance(pipeline, PeaknetPreprocessingPipelineParameters):
        for index, name in enumerate(pipeline.images or ()):
            if name not in names:
                yield _unknown(("processing_pipeline", "images", index), name, names)
    if isinstance(serializer, SimplonBinarySerializerParameters):
        for name in SIMPLON_SOURCES:
            if name not in names:
                what = f"SimplonBinarySerializer needs a data source named {name!r}"
                yield Misfit(("data_sources",), what)
    # A detector with several fields yields arrays named <data source>.<field>.
    for name in getattr(serializer, "fields", None) or ():
        if name not in names and name.partition(".")[0] not in names:
            yield _unknown(("data_serializer", "fields", name), name, names)


def _unknown(path: tuple[str | int, ...], name: str, names: Collection[str]) -> Misfit:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return Misfit(path, f"there is no data source named {name!r}", close[0] if close else None)


def _unusable_names(names: Collection[str], serializer: BaseModel) -> Iterator[Misfit]:
    if getattr(serializer, "fields", None) is not None:
        return
    if isinstance(serializer, Hdf5SerializerParameters):
        taken = [n for n in names if f"{EVENT_IDS_PATH}/".startswith(f"{canonical_path(n)}/")]
    elif isinstance(
        serializer, NumpyBinarySerializerParameters | MsgpackBinarySerializerParameters
    ):
        taken = [n for n in names if n in RESERVED_NAMES]
    else:
        taken = []
    for name in taken:
        what = f"{name!r} is a name of the message itself; give it another one in 'fields'"
        yield Misfit(("data_sources", name), what)


def _wrong_batches(pipeline: BaseModel, serializer: BaseModel) -> Iterator[Misfit]:
    single = isinstance(pipeline, NoOpProcessingPipelineParameters)
    if isinstance(serializer, MsgpackBinarySerializerParameters) and not single:
        size = getattr(pipeline, "batch_size", 1)
        if size != 1:
            what = f"CrystFEL reads one event per msgpack message: batch_size must be 1, not {size}"
            yield Misfit(("processing_pipeline", "batch_size"), what)


def _clashing_files(handlers: Sequence[BaseModel]) -> Iterator[Misfit]:
    seen: dict[tuple[str, str, str], int] = {}
    for index, handler in enumerate(handlers):
        if isinstance(handler, BinaryFileWritingDataHandlerParameters):
            target = (str(handler.write_directory), handler.name_prefix, handler.file_suffix)
            first = seen.setdefault(target, index)
            if first != index:
                what = f"writes the same files as handler {first}; give it another file_prefix"
                yield Misfit(("data_handlers", index), what)
