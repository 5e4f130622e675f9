"""Other spellings of the class names in a configuration, and what they mean here.

The paper, upstream's code of 2025 and upstream's code of today name the same things differently.
The paper's names are the canonical ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SPELLINGS: dict[str, str] = {
    "HDF5BinarySerializer": "Hdf5Serializer",
    "Hdf5BinarySerializer": "Hdf5Serializer",
    "HDF5Serializer": "Hdf5Serializer",
    "NpzBinarySerializer": "NumpyBinarySerializer",
    "PeakNetPreprocessingPipeline": "PeaknetPreprocessingPipeline",
    "HDF5EventSource": "Hdf5EventSource",
    "HDF5Dataset": "Hdf5Dataset",
}
"""Spelling → canonical name, where only the name differs."""


@dataclass(frozen=True)
class OldDetector:
    """A detector class of 2025, in terms of today's detector interface.

    Attributes:
        canonical: the class that stands for it today.
        fields: the ``psana_fields`` it always meant, or None.
        prefix: put before the old ``psana_function`` to make the field; None where the class had
            no such key.
        calibration: the field for ``calibration: true`` and for ``false``, or None where the class
            had no such key.
        name: the ``psana_name`` it always meant, or None.
        is_function_optional: whether ``psana_function`` could be left out.
    """

    canonical: str
    fields: str | None = None
    prefix: str | None = None
    calibration: dict[bool, str] | None = field(default=None)
    name: str | None = None
    is_function_optional: bool = False


_ONE, _TWO = "Psana1DetectorInterface", "Psana2DetectorInterface"

OLD_DETECTORS: dict[str, OldDetector] = {
    "Psana1AreaDetector": OldDetector(_ONE, calibration={True: "calib", False: "raw"}),
    "Psana1AssembledAreaDetector": OldDetector(_ONE, fields="image"),
    "Psana1PV": OldDetector(_ONE, prefix="", is_function_optional=True),
    "Psana1BbmonDetectorTotalIntensity": OldDetector(_ONE, fields="get.TotalIntensity"),
    "Psana1IpmDetector": OldDetector(_ONE, prefix=""),
    "Psana1EvrCodes": OldDetector(_ONE, fields="eventCodes"),
    "Psana1UsdUsbDetector": OldDetector(_ONE, prefix=""),
    "Psana2AreaDetector": OldDetector(_TWO, calibration={True: "raw.calib", False: "raw.raw"}),
    "Psana2AssembledAreaDetector": OldDetector(_TWO, fields="raw.image"),
    "Psana2Camera": OldDetector(_TWO, fields="raw.raw"),
    "Psana2EBeam": OldDetector(_TWO, prefix="raw.", name="ebeam"),
    "Psana2Gmd": OldDetector(_TWO, prefix="raw."),
    "Psana2HsdDetector": OldDetector(_TWO, prefix="raw."),
    "Psana2PV": OldDetector(_TWO),
}
"""Class of 2025 → what it means in terms of the detector interfaces of psana 1 and 2."""


def canonical_type(name: str) -> str:
    """The canonical name of a class; a name that is none of the spellings stays as it is."""
    if name in OLD_DETECTORS:
        return OLD_DETECTORS[name].canonical
    return SPELLINGS.get(name, name)
