from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lclstreamer.core.errors import BadInputError
from lclstreamer.transport import sp
from lclstreamer.transport.assembler import Assembler
from lclstreamer.transport.runs import Run
from lclstreamer.transport.slabs import LANDING_BYTES, OWN_SLAB_BYTES, SlabPool

LIMIT = 1 << 22


def payload(index, size):
    return (index.to_bytes(2, "big") * (size // 2 + 1))[:size]


def frame(data):
    return struct.pack(">Q", len(data)) + data


class Feeder:
    """Reads a stream of bytes through an assembler, in pieces of the sizes given."""

    def __init__(self, limit_bytes=64 << 20, slab_bytes=LANDING_BYTES):
        self.pool = SlabPool(limit_bytes, slab_bytes=slab_bytes)
        self.assembler = Assembler(self.pool, LIMIT, peer="producer p")
        self.messages = []
        self.controls = []
        self.error = None

    def feed(self, data, pieces):
        pieces = iter(pieces)
        while data:
            room = self.assembler.room(0)
            assert room is not None
            assert len(room) > 0
            count = min(len(room), len(data), next(pieces, len(data)))
            room[:count] = data[:count]
            del room
            data = data[count:]
            for item in self.assembler.advance(count):
                self.take(item)
            if self.error:
                return

    def take(self, item):
        if isinstance(item, Run):
            found = [bytes(view) for view in item.payloads()]
            assert len(found) == item.messages
            assert sum(map(len, found)) == item.payload_bytes
            assert b"".join(item.buffers()) == b"".join(map(frame, found))
            self.messages += found
            self.pool.end_run(item.slab)
        elif isinstance(item, bytes):
            self.controls.append(item)
        else:
            self.error = item


sizes = st.one_of(
    st.integers(0, 100),
    st.integers(0, 40_000),
    st.sampled_from([OWN_SLAB_BYTES - 9, OWN_SLAB_BYTES - 8, OWN_SLAB_BYTES, 300_000, 1_100_000]),
)


@settings(deadline=None)
@given(
    st.lists(sizes, max_size=25)
    | st.builds(
        lambda size, count, more: [size] * count + more,
        sizes,
        st.integers(0, 12),
        st.lists(sizes, max_size=3),
    ),
    st.lists(st.one_of(st.integers(1, 20), st.integers(1, 70_000)), max_size=60),
    st.lists(st.integers(0, 24), max_size=3),
    st.sampled_from([1 << 16, 1 << 20, 64 << 20]),
    st.sampled_from([1 << 18, 1 << 20, 8 << 20]),
)
def test_any_messages_in_any_pieces_come_out_as_they_went_in(
    lengths, pieces, controls, limit, batch
):
    expected = [payload(index, size) for index, size in enumerate(lengths)]
    parts = [frame(data) for data in expected]
    for place in sorted(controls, reverse=True):
        parts.insert(min(place, len(parts)), sp.encode_control({"place": place}))
    feeder = Feeder(limit, batch)
    feeder.feed(b"".join(parts), pieces)
    assert feeder.error is None
    assert feeder.messages == expected
    assert len(feeder.controls) == len(controls)
    assert feeder.assembler.drop() == 0
    assert feeder.pool.in_use_bytes == 0


@settings(deadline=None)
@given(st.lists(sizes, min_size=1, max_size=10), st.integers(1, 10**9))
def test_a_partial_frame_is_dropped_and_counted(lengths, cut_off):
    data = b"".join(frame(bytes(size)) for size in lengths)
    whole, cut_off = data, cut_off % len(data)
    data = data[: len(data) - cut_off]
    feeder = Feeder()
    feeder.feed(data, [])
    complete = sum(8 + len(message) for message in feeder.messages)
    assert feeder.assembler.drop() == len(data) - complete
    assert feeder.messages == [bytes(n) for n in lengths][: len(feeder.messages)]
    assert feeder.pool.in_use_bytes == 0
    assert len(whole) - complete >= cut_off


@pytest.mark.parametrize("before", [[], [b"small"], [bytes(OWN_SLAB_BYTES)]])
def test_a_message_above_the_limit_is_refused_after_those_before_it(before):
    feeder = Feeder()
    data = b"".join(map(frame, before)) + struct.pack(">Q", LIMIT + 1) + b"rest"
    feeder.feed(data, [])
    assert feeder.messages == before
    assert isinstance(feeder.error, BadInputError)
    assert "more than the 4.0 MiB that are accepted" in feeder.error.problem


@pytest.mark.parametrize("before", [[], [b"small"], [bytes(OWN_SLAB_BYTES)]])
def test_a_control_frame_above_its_limit_is_refused(before):
    feeder = Feeder()
    word = sp.CONTROL_BIT | (sp.CONTROL_LIMIT_BYTES + 1)
    feeder.feed(b"".join(map(frame, before)) + struct.pack(">Q", word) + bytes(20), [])
    assert feeder.messages == before
    assert isinstance(feeder.error, BadInputError)


def test_small_messages_share_a_slab_and_one_read_gives_one_run():
    pool = SlabPool(64 << 20)
    assembler = Assembler(pool, LIMIT, peer="p")
    data = frame(bytes(100)) * 200
    first = assembler.room(0)
    first[:8] = data[:8]
    assert assembler.advance(8) == []
    room = assembler.room(0)
    room[: len(data) - 8] = data[8:]
    (run,) = assembler.advance(len(data) - 8)
    assert run.messages == 200
    assert pool.in_use_bytes == pool.landing_bytes


def test_long_messages_of_one_size_use_the_same_memory_again():
    feeder = Feeder()
    feeder.feed(frame(bytes(1 << 20)) * 20, [])
    assert len(feeder.messages) == 20
    assert feeder.pool.peak_bytes < 2 << 20


def test_long_messages_of_one_size_may_share_slabs():
    feeder = Feeder(slab_bytes=8 << 20)
    feeder.feed(frame(bytes(1 << 20)) * 40, [])
    assert len(feeder.messages) == 40
    feeder.feed(frame(bytes(1 << 20)) * 3 + frame(bytes(300_000)) + frame(b"short"), [])
    assert feeder.messages[40:] == [bytes(1 << 20)] * 3 + [bytes(300_000), b"short"]
    assert 7 << 20 <= feeder.pool.peak_bytes < 17 << 20
    assert feeder.assembler.drop() == 0
    assert feeder.pool.in_use_bytes == 0


def test_a_quiet_connection_gives_its_slab_back():
    feeder = Feeder()
    feeder.feed(frame(b"x") + frame(b"y"), [])
    assert feeder.pool.in_use_bytes > 0
    feeder.assembler.relax()
    assert feeder.pool.in_use_bytes == 0
    feeder.feed(frame(b"z"), [])
    assert feeder.messages == [b"x", b"y", b"z"]


def test_a_quiet_connection_keeps_a_slab_with_half_a_message():
    feeder = Feeder()
    feeder.feed(frame(b"x") + frame(b"yyyy")[:-1], [])
    feeder.assembler.relax()
    feeder.feed(b"y", [])
    assert feeder.messages == [b"x", b"yyyy"]


def test_without_memory_there_is_no_room_but_nothing_is_lost():
    feeder = Feeder(1 << 20)
    kept = feeder.pool.acquire(1 << 20, 0)
    feeder.pool.add_run(kept)
    header = frame(bytes(OWN_SLAB_BYTES))[:8]
    room = feeder.assembler.room(0)
    room[:] = header
    feeder.assembler.advance(8)
    assert feeder.assembler.room(0) is None
    feeder.pool.end_run(kept)
    feeder.pool.end_filling(kept)
    feeder.feed(bytes(OWN_SLAB_BYTES), [])
    assert feeder.messages == [bytes(OWN_SLAB_BYTES)]
