"""Dectris' Simplon messages: the configuration is understood, the messages come later."""

from __future__ import annotations

from typing import NoReturn

from lclstreamer.core.errors import ConfigurationError
from lclstreamer.parameters.serializers import SimplonBinarySerializerParameters


class SimplonBinarySerializer:
    """Refuses to start, with the serializers that can be used instead."""

    def __init__(self, parameters: SimplonBinarySerializerParameters) -> None:
        del parameters
        _refuse()


def _refuse() -> NoReturn:
    raise ConfigurationError(
        "SimplonBinarySerializer is not part of this version yet",
        mend="use Hdf5Serializer, NumpyBinarySerializer or MsgpackBinarySerializer for now",
        where="data_serializer",
    )
