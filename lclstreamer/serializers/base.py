"""What every serializer offers, and what all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.events import Batch, Message

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

FORMAT = "lclstreamer"
"""What a message calls its format, where it can say so."""

FORMAT_VERSION = 1
"""Raised whenever a reader of the older version could misunderstand a message."""


class DataSerializer(Protocol):
    """Turns a batch into bytes. Every message can be understood alone."""

    def serialize(self, batch: Batch) -> Message:
        """Make one message of a batch.

        Raises:
            BadInputError: the format cannot carry an array's type.
        """
        ...


def select_fields(
    batch: Batch, fields: Mapping[str, str] | None
) -> Iterator[tuple[str, str, Array]]:
    """Yield (array's name, its name in the message, array) for what goes into the message.

    Without ``fields`` that is everything, under its own name; else what is listed and there. The
    arrays ``det.raw.calib`` and ``det.raw.image`` of a data source ``det`` that is listed as
    ``/data`` go to ``/data/raw.calib`` and ``/data/raw.image``.
    """
    for source, array in batch.data.items():
        parent, _, field = source.partition(".")
        if fields is None:
            yield source, source, array
        elif source in fields:
            yield source, fields[source], array
        elif parent in fields:
            yield source, f"{fields[parent]}/{field}", array


def message_of(batch: Batch, payload: bytes | bytearray | memoryview) -> Message:
    """The message that carries a batch as these bytes, which must not change any more."""
    if not isinstance(payload, bytes):
        payload = memoryview(payload).toreadonly()  # sockets send what is read-only without a copy
    return Message(payload, rank=batch.rank, sequence=batch.sequence, events=len(batch))


def check_format_version(version: int) -> None:
    """Refuse a message of a version that this reader might misunderstand."""
    if version != FORMAT_VERSION:
        raise BadInputError(
            f"the message has format version {version}, this reader knows {FORMAT_VERSION}",
            mend="read it with the version of lclstreamer that wrote it, or a newer one",
        )
