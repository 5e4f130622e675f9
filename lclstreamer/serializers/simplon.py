"""Dectris' Simplon messages: the configuration is understood, the messages come later."""

from __future__ import annotations

from typing import NoReturn

from lclstreamer.core.errors import ConfigurationError
from lclstreamer.parameters.serializers import SimplonBinarySerializerParameters

NOT_YET = "SimplonBinarySerializer is not part of this version yet"


class SimplonBinarySerializer:
    """Refuses to start, with the serializers that can be used instead."""

    def __init__(self, parameters: SimplonBinarySerializerParameters) -> None:
        del parameters
        _refuse()

    @staticmethod
    def why_unavailable() -> str:
        """Always."""
        return NOT_YET


def _refuse() -> NoReturn:
    raise ConfigurationError(
        NOT_YET,
        mend="use Hdf5Serializer, NumpyBinarySerializer or MsgpackBinarySerializer for now",
        where="data_serializer",
    )
