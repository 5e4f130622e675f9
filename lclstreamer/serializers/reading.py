"""From a message back to arrays, whatever the format: the bytes tell it."""

from __future__ import annotations

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.events import Batch

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
NPZ_MAGIC = b"PK\x03\x04"
MSGPACK_MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)


def format_of(payload: bytes | bytearray | memoryview) -> str | None:
    """``hdf5``, ``npz`` or ``msgpack`` by the first bytes, None where they are none of these."""
    start = bytes(payload[:8])
    if start == HDF5_MAGIC:
        return "hdf5"
    if start.startswith(NPZ_MAGIC):
        return "npz"
    return "msgpack" if start and start[0] in MSGPACK_MAPS else None


def read_message(payload: bytes | bytearray | memoryview) -> Batch:
    """Read the batch in a message that one of this project's serializers wrote.

    Raises:
        BadInputError: the format is unknown, or the message damaged.
    """
    match format_of(payload):
        case "hdf5":
            from lclstreamer.serializers.hdf5 import read_hdf5

            return read_hdf5(payload)
        case "npz":
            from lclstreamer.serializers.npz import read_npz

            return read_npz(payload)
        case "msgpack":
            from lclstreamer.serializers.msgpack import read_msgpack

            return read_msgpack(payload)
        case _:
            start = bytes(payload[:8]).hex(" ")
            raise BadInputError(
                f"{len(payload)} bytes beginning with {start or 'nothing'} are no known format",
                mend="only HDF5, npz and msgpack messages of lclstreamer can be read here",
            )
