"""nng's SP protocol over TCP, without any input or output.

On the wire: each side sends eight bytes of greeting with its protocol number, then frames: an
eight-byte big-endian length and that many bytes.

Between programs of this project there is more, invisible to nng's own sockets:

- *Reverse frames*: the pulling side sends frames too, with JSON inside: one hello behind its
  greeting, then acknowledgements. nng's push sockets throw away whatever they receive.
- *Control frames*: a forward frame whose length has its top bit set, with JSON inside. They are
  sent only to a puller that said hello, because nng would refuse such a length.
"""

from __future__ import annotations

import json
import struct
from math import gcd
from typing import Any, Literal, cast

from lclstreamer.core.errors import BadInputError

PUSH = 0x50
"""SP's number of the pushing side of a pipeline."""
PULL = 0x51
"""SP's number of the pulling side of a pipeline."""
NAME_OF_PROTOCOL = {
    0x10: "pair", 0x11: "pair1", 0x20: "pub", 0x21: "sub", 0x30: "req", 0x31: "rep",
    PUSH: "push", PULL: "pull", 0x62: "surveyor", 0x63: "respondent", 0x70: "bus",
}  # fmt: skip

GREETING_BYTES = 8
HEADER_BYTES = 8
CONTROL_BIT = 1 << 63
"""Set in the length of a control frame."""
CONTROL_LIMIT_BYTES = 65_536
"""The longest control or reverse frame that is accepted."""
NO_WORD = -1
"""`cut` found no further length word: fewer than eight bytes are left."""

_KIND_OF_FIELD = {
    "lclstream": int, "ack": int, "messages": int, "bytes": int, "max_message_bytes": int,
    "name": str, "refused": str, "mend": str, "dismissed": str, "missing": list, "ledger": dict,
}  # fmt: skip
"""What control and reverse frames hold, where they hold it; more is passed over."""

_GREETING = struct.Struct(">4sHH")
_MAGIC = b"\0SP\0"
_WORD = struct.Struct(">Q")
read_word = _WORD.unpack_from
write_word = _WORD.pack_into
_STREAK = 8  # equal lengths in a row before all the rest are compared at once
_CELL_OF_BYTES: dict[int, Literal["Q", "I", "H", "B"]] = {8: "Q", 4: "I", 2: "H", 1: "B"}


def greeting(protocol: int) -> bytes:
    """The first eight bytes that a side sends."""
    return _GREETING.pack(_MAGIC, protocol, 0)


def check_greeting(data: bytes, *, expected: int, peer: str) -> None:
    """Refuse a peer that does not speak SP or is not the counterpart of this socket.

    Raises:
        BadInputError: with what the peer is instead.
    """
    magic, protocol, _ = _GREETING.unpack(data)
    if magic != _MAGIC:
        raise BadInputError(
            f"{peer} does not speak nng's protocol (it began with {data!r})",
            mend="give it an address of its own protocol, e.g. zmq+tcp://… for ZeroMQ",
        )
    if protocol != expected:
        name = NAME_OF_PROTOCOL.get(protocol, f"protocol {protocol:#x}")
        raise BadInputError(
            f"{peer} is a {name} socket, not a {NAME_OF_PROTOCOL[expected]} socket",
            mend="connect push to pull: producers to an inlet, consumers to an outlet",
        )


def frame_header(payload_bytes: int) -> bytes:
    """The eight bytes in front of a message."""
    return _WORD.pack(payload_bytes)


def encode_control(document: dict[str, Any]) -> bytes:
    """A forward control frame, for a peer that said hello."""
    payload = json.dumps(document, separators=(",", ":")).encode()
    return _WORD.pack(len(payload) | CONTROL_BIT) + payload


def encode_reverse(document: dict[str, Any]) -> bytes:
    """A reverse frame, from the pulling to the pushing side."""
    payload = json.dumps(document, separators=(",", ":")).encode()
    return _WORD.pack(len(payload)) + payload


def encode_acknowledgement(messages: int) -> bytes:
    """The reverse frame that says how many messages of this connection are done with."""
    payload = b'{"ack":%d}' % messages
    return _WORD.pack(len(payload)) + payload


def decode_document(payload: bytes | bytearray | memoryview, *, peer: str) -> dict[str, Any]:
    """Read the JSON inside a control or reverse frame.

    Raises:
        BadInputError: it is not a JSON object, or a field is of another kind than it should be.
    """
    try:
        document = json.loads(bytes(payload))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise _unknown(f"{peer} sent a control frame that is not a JSON object")
    fields = cast("dict[str, Any]", document)
    for name, value in fields.items():
        if not isinstance(value, _KIND_OF_FIELD.get(name, object)):
            raise _unknown(f"{peer} sent a control frame whose {name!r} is {value!r:.80}")
    return fields


def _unknown(problem: str) -> BadInputError:
    return BadInputError(problem, mend="use the same version of this package on both sides")


def cut(view: memoryview, start: int, stop: int, limit: int) -> tuple[int, int, int]:
    """Find the whole data frames in ``view[start:stop]``.

    Stops in front of a frame that is incomplete, is a control frame or is longer than ``limit``.

    Args:
        view: contiguous bytes with a frame beginning at ``start``.
        start: offset of the first frame.
        stop: offset behind the last byte that was received.
        limit: the longest payload that is a data frame, in bytes; below `CONTROL_BIT`.

    Returns:
        The offset behind the last whole data frame, their number, and the length word of the frame
        that begins there (`NO_WORD` if it has not arrived).
    """
    position, frames = start, 0
    previous, streak = -1, 0
    while stop - position >= HEADER_BYTES:
        word: int = read_word(view, position)[0]
        following = position + HEADER_BYTES + word
        if following > stop or word > limit:
            return position, frames, word
        position = following
        frames += 1
        if word != previous:
            previous, streak = word, 0
            continue
        streak += 1
        if streak == _STREAK:
            size = HEADER_BYTES + word
            # Most streams carry messages of one length: compare all the headers in C.
            equal = _equal_frames(view, position, size, (stop - position) // size, word)
            position += equal * size
            frames += equal
            streak = 0 if equal else -_STREAK * _STREAK
    return position, frames, NO_WORD


def _equal_frames(view: memoryview, start: int, size: int, frames: int, word: int) -> int:
    """``frames`` if all frames from ``start`` on have this size, else 0."""
    if frames < _STREAK or read_word(view, start)[0] != word:
        return 0
    width = gcd(size, HEADER_BYTES)
    cells = view[start : start + frames * size].cast(_CELL_OF_BYTES[width])
    step = size // width
    for offset in range(HEADER_BYTES // width):
        column = cells[offset::step]
        if column[1:] != column[:-1]:
            return 0
    return frames


def offset_behind(view: memoryview, start: int, frames: int) -> int:
    """The offset behind this many whole frames, the first of which begins at ``start``."""
    position = start
    for _ in range(frames):
        position += HEADER_BYTES + read_word(view, position)[0]
    return position


def frames_within(view: memoryview, start: int, stop: int, limit_bytes: int) -> tuple[int, int]:
    """How many of the whole frames in ``view[start:stop]`` fit into ``limit_bytes``.

    Returns:
        Their number and the offset behind them.
    """
    position, frames, end = start, 0, min(stop, start + limit_bytes)
    while end - position >= HEADER_BYTES:
        following = position + HEADER_BYTES + read_word(view, position)[0]
        if following > end:
            break
        position = following
        frames += 1
    return frames, position


class ReverseReader:
    """Cuts the reverse direction, which carries small JSON frames only, into documents."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._pending = bytearray()

    @property
    def is_within_frame(self) -> bool:
        """Whether the rest of a frame is still to come."""
        return bool(self._pending)

    def feed(self, data: bytes | memoryview) -> list[dict[str, Any]]:
        """Take what arrived and return the documents that are complete.

        Raises:
            BadInputError: a frame is too long or is not JSON.
        """
        self._pending += data
        documents: list[dict[str, Any]] = []
        position = 0
        while len(self._pending) - position >= HEADER_BYTES:
            length: int = read_word(self._pending, position)[0]
            if length > CONTROL_LIMIT_BYTES:
                raise BadInputError(
                    f"{self._peer} announced a reply of {length} bytes",
                    mend="connect push to pull sockets only",
                )
            following = position + HEADER_BYTES + length
            if following > len(self._pending):
                break
            payload = self._pending[position + HEADER_BYTES : following]
            documents.append(decode_document(payload, peer=self._peer))
            position = following
        del self._pending[:position]
        return documents
