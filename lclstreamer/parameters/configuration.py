"""The whole configuration: what to read, what to take from it, and where it goes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from pydantic import Field, WrapValidator, model_validator

from lclstreamer.core.config_file import Document, parse_document, read_text, validate_document
from lclstreamer.core.errors import ConfigurationError
from lclstreamer.parameters.base import StrictModel
from lclstreamer.parameters.consistency import Misfit, find_misfits
from lclstreamer.parameters.data_sources import DataSourceParameters
from lclstreamer.parameters.event_sources import (
    EventSourceParameters,
    Hdf5EventSourceParameters,
    Psana2EventSourceParameters,
)
from lclstreamer.parameters.handlers import DataHandlerParameters
from lclstreamer.parameters.normal_form import normalise
from lclstreamer.parameters.pipelines import ProcessingPipelineParameters
from lclstreamer.parameters.psana_identifier import read_psana_identifier
from lclstreamer.parameters.serializers import DataSerializerParameters
from lclstreamer.parameters.third_party import accepting_third_parties


def type_names(union: Any) -> frozenset[str]:
    """The names that ``type`` may have in one of the sections' unions."""
    models = get_args(get_args(union)[0])
    return frozenset(get_args(model.model_fields["type"].annotation)[0] for model in models)


CLASSES = {
    "event_source": type_names(EventSourceParameters),
    "processing_pipeline": type_names(ProcessingPipelineParameters),
    "data_serializer": type_names(DataSerializerParameters),
    "data_handlers": type_names(DataHandlerParameters),
    "data_sources": type_names(DataSourceParameters),
}
"""Section → the canonical class names it may hold."""


def _open_to(kind: str, section: str) -> WrapValidator:
    return WrapValidator(accepting_third_parties(kind, CLASSES[section]))


SourceName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]


class StreamerSections(StrictModel):
    """The sections, each valid in itself; whether they fit together is not checked."""

    schema_command: ClassVar[str] = "lclstreamer schema"

    source_identifier: Annotated[str, Field(max_length=100_000)]
    """What the event source reads, in the event source's own words."""

    skip_incomplete_events: bool
    """What happens to an event that lacks something required. True: it is left out and counted.
    False: what is missing is filled, with NaN for floating-point numbers, 0 for integers and empty
    text. The stream goes on either way."""

    event_source: Annotated[EventSourceParameters, _open_to("event_source", "event_source")]
    """Where events come from."""

    data_sources: dict[
        SourceName, Annotated[DataSourceParameters, _open_to("data_source", "data_sources")]
    ]
    """What is taken from each event, under a name of your choice; nothing else is."""

    processing_pipeline: Annotated[
        ProcessingPipelineParameters, _open_to("pipeline", "processing_pipeline")
    ]
    """How events become batches."""

    data_serializer: Annotated[DataSerializerParameters, _open_to("serializer", "data_serializer")]
    """How a batch becomes bytes."""

    data_handlers: tuple[
        Annotated[DataHandlerParameters, _open_to("handler", "data_handlers")], ...
    ]
    """Where the bytes go. Every handler gets the same bytes, at the same time."""

    def misfits(self) -> list[Misfit]:
        """What contradicts something in another section."""
        return [
            *self._identifier_misfits(),
            *find_misfits(
                self.data_sources,
                self.processing_pipeline,
                self.data_serializer,
                self.data_handlers,
            ),
        ]

    def _identifier_misfits(self) -> Iterator[Misfit]:
        where = ("source_identifier",)
        if isinstance(self.event_source, Psana2EventSourceParameters):
            for mistake in read_psana_identifier(self.source_identifier)[1]:
                yield Misfit(where, mistake)
        names_files = bool(self.source_identifier.strip(" ,"))
        if isinstance(self.event_source, Hdf5EventSourceParameters) and not names_files:
            yield Misfit(where, "must name the HDF5 files to replay, e.g. /data/run*.h5")


class StreamerConfiguration(StreamerSections):
    """The configuration of LCLStreamer.

    The paper's nested form, upstream's flat form and the class names of either are accepted.
    """

    @model_validator(mode="before")
    @classmethod
    def _normal_form_of(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        document = normalise(Document("", copy.deepcopy(data)), CLASSES)
        if document.faults:
            raise ValueError("; ".join(f"{fault.path}: {fault.what}" for fault in document.faults))
        return document.data

    @model_validator(mode="after")
    def _sections_fit(self) -> StreamerConfiguration:
        misfits = self.misfits()
        if misfits:
            raise ValueError("; ".join(misfit.what for misfit in misfits))
        return self


def load_configuration(path: Path | str) -> StreamerConfiguration:
    """Read a configuration file (YAML or JSON).

    Raises:
        ConfigurationError: it cannot be read or is wrong; lists every fault with its position.
    """
    return parse_configuration(read_text(path), name=str(path))


def parse_configuration(text: str, *, name: str = "<text>") -> StreamerConfiguration:
    """The same for text in memory; ``name`` stands in the positions of faults."""
    return configuration_of(parse_document(text, name=name))


def configuration_of(document: Document) -> StreamerConfiguration:
    """The same for a document that is parsed already."""
    if not isinstance(document.data, dict):
        raise ConfigurationError(
            f"{document.name} is no configuration: its top level is not a mapping of sections",
            where=document.name,
            mend="begin with 'source_identifier: …'; `lclstreamer schema` prints what is allowed",
            faults=(document.fault((), "must be a mapping of sections"),),
        )
    document = normalise(document, CLASSES)
    sections = validate_document(document, StreamerSections)
    misfits = sections.misfits()
    if misfits:
        document.faults += [
            document.fault(misfit.path, misfit.what, suggestion=misfit.suggestion)
            for misfit in misfits
        ]
        validate_document(document, StreamerSections)  # raises, with every fault in its place
    return StreamerConfiguration.model_validate(document.data)
