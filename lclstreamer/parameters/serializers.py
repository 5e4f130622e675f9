"""Parameters of the serializers: how a batch becomes bytes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lclstreamer.parameters.base import StrictModel

Compression = Literal[
    "gzip", "gzip_with_shuffle", "bitshuffle_with_lz4", "bitshuffle_with_zstd", "zfp"
]

HIGHEST_LEVEL: dict[str, int] = {
    "gzip": 9,
    "gzip_with_shuffle": 9,
    "bitshuffle_with_lz4": 22,
    "bitshuffle_with_zstd": 22,
    "zfp": 9,
}
"""The largest `compression_level` of each compression; LZ4 ignores any that it is given."""

EVENT_IDS_PATH = "/LCLS/event_id"
"""Where an HDF5 message keeps its event ids (CrystFEL copies it into its stream by this path)."""

RESERVED_NAMES = ("event_id", "lclstreamer")
"""Keys that npz and msgpack messages use for the ids and for run, rank and sequence."""


def canonical_path(path: str) -> str:
    """Write an HDF5 path from the root, without doubled slashes: ``data//x`` is ``/data/x``."""
    return "/" + "/".join(part for part in path.split("/") if part)


def _checked_path(path: str) -> str:
    parts = canonical_path(path)[1:].split("/")
    if "\0" in path or any(part in {"", ".", ".."} for part in parts):
        raise ValueError("is not a path inside an HDF5 file, write it like /data/detector")
    return canonical_path(path)


def _checked_paths(fields: dict[str, str]) -> dict[str, str]:
    return _without_overlap(fields, {EVENT_IDS_PATH: "the event ids"})


def _checked_keys(fields: dict[str, str]) -> dict[str, str]:
    if not all(fields.values()):
        raise ValueError("a name in the message cannot be empty")
    return _without_overlap(fields, dict.fromkeys(RESERVED_NAMES, "the message itself"))


def _without_overlap(fields: dict[str, str], owners: dict[str, str]) -> dict[str, str]:
    """Refuse a name that is another's, or a folder of another's."""
    for source, name in fields.items():
        for taken, owner in owners.items():
            if f"{name}/".startswith(f"{taken}/") or f"{taken}/".startswith(f"{name}/"):
                raise ValueError(f"{name} of {source} is in the way of {taken} of {owner}")
        owners[name] = source
    return fields


Hdf5Path = Annotated[str, AfterValidator(_checked_path)]
KeyOfSource = Annotated[dict[str, str], AfterValidator(_checked_keys)]


class Hdf5SerializerParameters(StrictModel):
    """A batch as a complete HDF5 file: one dataset per data source, one row per event.

    The file's attributes tell run, rank, sequence and format version; ``/LCLS/event_id`` holds the
    event ids. Uncompressed datasets are contiguous; compressed ones have chunks of whole events of
    about 1 MiB or, for larger events, of one event.
    """

    type: Literal["Hdf5Serializer"]

    compression: Compression | None = None
    """How datasets are compressed. ``zfp`` is for float32 and float64 alone; integers, text and
    the rest are then stored with ``bitshuffle_with_lz4``, without loss."""

    compression_level: Annotated[int, Field(strict=True, ge=0, le=22)] = 3
    """gzip: 0 to 9. zstd: 1 to 22, 0 for its default. LZ4: ignored. zfp: 0 is lossless; 1 to 9
    keep 26 - 2 x level bits, so that level 3 changes a value by less than 1/4,000 of the largest
    value near it. Data with NaN or infinity is always stored without loss."""

    compression_tolerance: Annotated[float, Field(gt=0)] | None = None
    """zfp alone, in place of the level: the largest change of any value, in the data's unit."""

    fields: Annotated[dict[str, Hdf5Path], AfterValidator(_checked_paths)] | None = None
    """The dataset path of each data source. A data source that is not listed is left out; without
    this key every data source is written, under its own name."""

    @model_validator(mode="after")
    def _level_exists(self) -> Hdf5SerializerParameters:
        highest = HIGHEST_LEVEL.get(self.compression or "", 22)
        if self.compression_level > highest:
            raise ValueError(
                f"compression_level {self.compression_level} is above {highest}, the highest of "
                f"{self.compression}"
            )
        if self.compression_tolerance is not None and self.compression != "zfp":
            raise ValueError("compression_tolerance needs compression: zfp")
        return self


class NumpyBinarySerializerParameters(StrictModel):
    """A batch as a numpy ``.npz`` archive: one array per data source, one row per event.

    ``event_id`` holds the event ids, ``lclstreamer`` a JSON text with run, rank and sequence.
    """

    type: Literal["NumpyBinarySerializer"]

    use_compression: bool = True
    """Whether the archive is deflated, which takes more than ten times as long."""

    fields: KeyOfSource | None = None
    """The array's name for each data source. A data source that is not listed is left out; without
    this key every data source is written, under its own name."""


class MsgpackBinarySerializerParameters(StrictModel):
    """One event as the msgpack map that CrystFEL reads. Needs batches of one event.

    Arrays with two or more dimensions become ``{type, shape, data}`` with type ``<f4`` or ``<i4``,
    the only two that CrystFEL knows, as one slab of two dimensions; one dimension becomes a list;
    scalars and text stay themselves. ``event_id`` holds the event id, ``lclstreamer`` run, rank,
    sequence and what is needed to undo the conversions.
    """

    type: Literal["MsgpackBinarySerializer"]

    fields: KeyOfSource | None = None
    """The key of each data source; a slash makes an inner map, as in ``peak_list/fs``, unless the
    key begins with one. A data source that is not listed is left out; without this key every one
    is written, under its own name."""


class SimplonBinarySerializerParameters(StrictModel):
    """Messages in the manner of Dectris' Simplon interface (CBOR), for DIALS.

    The parameters are understood; the serializer itself comes in a later version.
    """

    type: Literal["SimplonBinarySerializer"]

    data_source_to_serialize: str
    """The data source with the image."""

    polarization_fraction: Annotated[float, Field(ge=0, le=1)]
    """Fraction of the beam that is polarized, 0 to 1."""

    polarization_axis: tuple[float, float, float]
    """Direction of polarization."""

    data_collection_rate: str
    """Nominal rate, as text, e.g. ``120 Hz``."""

    detector_name: str
    """Name of the detector."""

    detector_type: str
    """Model of the detector."""

    photon_wavelength_source: str | None = None
    """The data source with the photon wavelength in nm."""

    spectrometer_source: str | None = None
    """The data source with a spectrum for each image."""


DataSerializerParameters = Annotated[
    Hdf5SerializerParameters
    | NumpyBinarySerializerParameters
    | MsgpackBinarySerializerParameters
    | SimplonBinarySerializerParameters,
    Field(discriminator="type"),
]
"""Any serializer."""
