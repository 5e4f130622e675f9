"""Parameters of the data sources: what is taken from each event."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lclstreamer.parameters.base import StrictModel

MAXIMUM_ELEMENTS = 2**31
"""More values than this in one event's array are taken for a slip of the pen."""

DtypeName = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "complex64", "complex128", "str",
]  # fmt: skip

_SHORT_NAMES = {
    "int": "int64", "uint": "uint64", "float": "float64", "double": "float64", "single": "float32",
    "half": "float16", "complex": "complex128", "bool_": "bool", "str_": "str", "U": "str",
    **{f"{kind}{size}": f"{name}{size * 8}"
       for kind, name in (("i", "int"), ("u", "uint"), ("f", "float")) for size in (1, 2, 4, 8)
       if (kind, size) != ("f", 1)},
    "c8": "complex64", "c16": "complex128",
}  # fmt: skip


def _plain_dtype(value: Any) -> Any:
    """Numpy knows many names for a type, upstream's configurations use several."""
    if not isinstance(value, str):
        return value
    name = value.strip().removeprefix("numpy.").removeprefix("np.").lstrip("<=|")
    return _SHORT_NAMES.get(name, name)


Dtype = Annotated[DtypeName, BeforeValidator(_plain_dtype)]


def _numbers(value: Any) -> Any:
    """Upstream writes ``6`` as ``6``, a list as ``[6, 3]``, ``"6,1"`` or ``"6,"``."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()]
    try:
        numbers = [int(part) if part.lstrip("+-").isdigit() else float(part) for part in parts]
    except ValueError:
        return value
    return numbers[0] if len(numbers) == 1 else numbers


def _shape(value: Any) -> Any:
    numbers = _numbers(value)
    return [numbers] if isinstance(numbers, int) else numbers


Shape = Annotated[
    tuple[Annotated[int, Field(strict=True, ge=1, le=MAXIMUM_ELEMENTS)], ...],
    BeforeValidator(_shape),
    Field(max_length=16),
]
Number = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)]


class SourceModel(StrictModel):
    """What every data source has."""

    required: bool = True
    """Whether an event without it is incomplete. An optional one that is missing is filled: NaN
    for floating-point numbers, 0 for integers, empty text."""


class GenericRandomNumpyArrayParameters(SourceModel):
    """An array of random numbers: 0 to 254 for integers, 0 to 1 for floating-point numbers.

    They depend on the event source's seed, the data source's name and the event's id alone: not on
    the number of ranks.
    """

    type: Literal["GenericRandomNumpyArray"]

    array_shape: Shape
    """Shape of the array: ``[512, 1024]``, ``512,1024`` or ``512``."""

    array_dtype: Dtype
    """Type of the numbers, e.g. ``float32``."""

    always_random: bool = True
    """False makes the array once and gives it to every event, which is fast."""

    @model_validator(mode="after")
    def _can_be_made(self) -> GenericRandomNumpyArrayParameters:
        if self.array_dtype.startswith(("complex", "bool", "str")):
            raise ValueError(f"array_dtype {self.array_dtype} cannot be random: int or float can")
        if math.prod(self.array_shape) > MAXIMUM_ELEMENTS:
            raise ValueError(f"array_shape has more than {MAXIMUM_ELEMENTS} elements")
        return self


class ConstValueParameters(SourceModel):
    """The same number, or list of numbers, for every event."""

    type: Literal["ConstValue"]

    value: Annotated[Number | tuple[Number, ...], BeforeValidator(_numbers)]
    """The number, or several: ``4.5``, ``[6, 3]`` or ``6,3``."""

    dtype: Dtype
    """Type of the numbers, e.g. ``uint32``."""

    @model_validator(mode="after")
    def _fits_its_type(self) -> ConstValueParameters:
        for number in self.value if isinstance(self.value, tuple) else (self.value,):
            if not _fits(number, self.dtype):
                raise ValueError(f"value {number} does not fit dtype {self.dtype}")
        return self


def _fits(number: float, dtype: str) -> bool:
    if dtype == "bool":
        return number in {0, 1}
    unsigned, name = dtype.startswith("u"), dtype.removeprefix("u")
    if not name.startswith("int"):
        return True
    bits = int(name.removeprefix("int"))
    low, high = (0, 2**bits) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    return number == int(number) and low <= number < high


class FloatValueParameters(SourceModel):
    """The same floating-point number for every event, as float64."""

    type: Literal["FloatValue"]

    value: float
    """The number."""


class IntValueParameters(SourceModel):
    """The same integer for every event, as int64."""

    type: Literal["IntValue"]

    value: Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
    """The number."""


class SourceIdentifierParameters(SourceModel):
    """The configuration's ``source_identifier``, as text."""

    type: Literal["SourceIdentifier"]


class EventIdParameters(SourceModel):
    """The event's id as uint64: a timestamp where the source has one, else a number."""

    type: Literal["EventId"]


class Hdf5DatasetParameters(SourceModel):
    """A dataset of the files that an `Hdf5EventSource` replays."""

    type: Literal["Hdf5Dataset"]

    path: Annotated[str, Field(min_length=1, max_length=1000)]
    """The dataset's path in the file."""

    per_event: bool = True
    """Whether its first dimension counts events; false gives the whole dataset to every event."""

    dtype: Dtype | None = None
    """Converted to this type; by default as stored."""


def _field_name(text: str) -> str:
    for part in text.split("."):
        if not part.isidentifier() or part.startswith("__"):
            raise ValueError("must be names with dots between them, e.g. raw.calib")
    return text


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


FieldNames = Annotated[
    tuple[Annotated[str, AfterValidator(_field_name)], ...],
    BeforeValidator(_as_list),
    Field(min_length=1, max_length=100),
]


class PsanaDetectorModel(SourceModel):
    """A detector, or an EPICS variable, under the name psana gives it."""

    psana_name: Annotated[str, Field(min_length=1, max_length=1000)]
    """Name of the detector, or of the EPICS variable."""

    psana_fields: FieldNames | None = None
    """What to take from the detector: dotted names such as ``raw.calib``. Several of them give
    several arrays, named ``<data source>.<field>``. Not needed for an EPICS variable."""

    dtype: Dtype | None = None
    """Converted to this type; by default as psana gives it."""


class Psana1DetectorInterfaceParameters(PsanaDetectorModel):
    """A detector or EPICS variable of LCLS-I."""

    type: Literal["Psana1DetectorInterface"]


class Psana2DetectorInterfaceParameters(PsanaDetectorModel):
    """A detector or EPICS variable of LCLS-II."""

    type: Literal["Psana2DetectorInterface"]


class Psana1TimestampParameters(SourceModel):
    """The event's time as psana 1 gives it."""

    type: Literal["Psana1Timestamp"]


class Psana2TimestampParameters(SourceModel):
    """The event's time as uint64: seconds in the upper 32 bits, nanoseconds in the lower.

    Never as a floating-point number, whose steps here are 1024 ns.
    """

    type: Literal["Psana2Timestamp"]


class Psana2RunInfoParameters(SourceModel):
    """Experiment, the run's timestamp, its number and ``source_identifier``: four texts."""

    type: Literal["Psana2RunInfo"]


DataSourceParameters = Annotated[
    GenericRandomNumpyArrayParameters
    | ConstValueParameters
    | FloatValueParameters
    | IntValueParameters
    | SourceIdentifierParameters
    | EventIdParameters
    | Hdf5DatasetParameters
    | Psana1DetectorInterfaceParameters
    | Psana2DetectorInterfaceParameters
    | Psana1TimestampParameters
    | Psana2TimestampParameters
    | Psana2RunInfoParameters,
    Field(discriminator="type"),
]
"""Any data source."""
