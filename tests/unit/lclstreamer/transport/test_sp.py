from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lclstreamer.core.errors import BadInputError
from lclstreamer.transport import sp

LIMIT = 1 << 20
lengths = st.lists(st.integers(0, 300), max_size=60) | st.builds(
    lambda length, count: [length] * count, st.integers(0, 300), st.integers(0, 120)
)


def frames(sizes):
    return b"".join(struct.pack(">Q", size) + bytes(size) for size in sizes)


def naive_cut(data, limit):
    """The same as `sp.cut`, one frame after the other."""
    position = count = 0
    while len(data) - position >= 8:
        word = int.from_bytes(data[position : position + 8], "big")
        if word > limit or len(data) - position - 8 < word:
            return position, count, word
        position += 8 + word
        count += 1
    return position, count, sp.NO_WORD


def test_the_greeting_is_nngs():
    assert sp.greeting(sp.PUSH) == b"\0SP\0\0\x50\0\0"
    assert sp.greeting(sp.PULL) == b"\0SP\0\0\x51\0\0"
    sp.check_greeting(sp.greeting(sp.PULL), expected=sp.PULL, peer="p")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\0SP\0\0\x30\0\0", "a req socket, not a push socket"),
        (b"\0SP\0\x12\x34\0\0", "protocol 0x1234"),
        (b"\xff\0\0\0\0\0\0\0", "does not speak nng's protocol"),
        (b"GET / HT", "does not speak nng's protocol"),
    ],
)
def test_other_greetings_are_refused_in_words(data, what):
    with pytest.raises(BadInputError, match=what):
        sp.check_greeting(data, expected=sp.PUSH, peer="1.2.3.4:5")


@given(lengths, st.integers(0, 400), st.integers(0, 40))
def test_cutting_agrees_with_the_naive_way(sizes, cut_off, start):
    data = frames(sizes)
    data = data[: max(0, len(data) - cut_off)]
    room = bytes(start) + data + b"\xff" * 64
    end, count, word = sp.cut(memoryview(room), start, start + len(data), LIMIT)
    assert (end - start, count, word) == naive_cut(data, LIMIT)


@given(lengths, st.integers(LIMIT + 1, 2**64 - 1), lengths)
def test_cutting_stops_at_control_and_long_frames(before, word, after):
    data = frames(before) + struct.pack(">Q", word) + frames(after)
    end, count, found = sp.cut(memoryview(data), 0, len(data), LIMIT)
    assert (end, count, found) == (len(frames(before)), len(before), word)


@given(st.integers(0, 40), st.integers(20, 200), st.integers(0, 199), st.integers(0, 2**64 - 1))
def test_one_odd_frame_among_equal_ones_is_found(length, count, place, word):
    data = bytearray(frames([length] * count))
    struct.pack_into(">Q", data, (place % count) * (8 + length), word)
    assert sp.cut(memoryview(data), 0, len(data), LIMIT) == naive_cut(bytes(data), LIMIT)


@given(lengths, st.integers(0, 20_000))
def test_frames_are_counted_and_skipped(sizes, limit):
    view = memoryview(frames(sizes))
    count, end = sp.frames_within(view, 0, len(view), limit)
    assert end == sp.offset_behind(view, 0, count) <= limit
    assert count == len(sizes) or end + 8 + sizes[count] > limit


def test_control_frames_carry_their_mark_and_documents():
    frame = sp.encode_control({"end_of_stream": 1, "name": "ü"})
    (word,) = struct.unpack(">Q", frame[:8])
    assert word & sp.CONTROL_BIT
    assert word & ~sp.CONTROL_BIT == len(frame) - 8
    assert sp.decode_document(frame[8:], peer="p") == {"end_of_stream": 1, "name": "ü"}


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b"\xff\xfe", b"1", b"[" * 100_000])
def test_control_frames_that_are_no_object_are_refused(payload):
    with pytest.raises(BadInputError, match="not a JSON object"):
        sp.decode_document(payload, peer="p")


@pytest.mark.parametrize("field", ["ack", "name", "missing", "ledger", "max_message_bytes"])
def test_fields_of_another_kind_are_refused(field):
    with pytest.raises(BadInputError, match=f"peer sent a control frame whose '{field}' is None"):
        sp.decode_document(b'{"%s": null}' % field.encode(), peer="peer")
    assert sp.decode_document(b'{"from a later version": null}', peer="peer")


@given(st.lists(st.integers(0, 2**62), max_size=30), st.lists(st.integers(1, 50)))
def test_reverse_frames_are_read_in_any_pieces(numbers, pieces):
    data = b"".join(sp.encode_acknowledgement(number) for number in numbers)
    reader, found = sp.ReverseReader("p"), []
    for piece in [*pieces, len(data)]:
        found += reader.feed(data[:piece])
        data = data[piece:]
    assert found == [{"ack": number} for number in numbers]


def test_a_reverse_frame_that_is_too_long_is_refused_before_it_comes():
    with pytest.raises(BadInputError, match="announced a reply"):
        sp.ReverseReader("p").feed(struct.pack(">Q", sp.CONTROL_LIMIT_BYTES + 1))


@given(st.binary(max_size=200))
def test_reverse_rubbish_is_refused_or_awaited_but_never_crashes(data):
    reader = sp.ReverseReader("p")
    with contextlib.suppress(BadInputError):
        reader.feed(data)
