from __future__ import annotations

import threading
import time

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lclstreamer.transport.slabs import (
    LANDING_BYTES,
    OWN_SLAB_BYTES,
    SMALLEST_LANDING_BYTES,
    SlabPool,
    slab_size_for,
)

MIB = 1 << 20


def deliver(pool, slab):
    """What happens to a slab with one run."""
    pool.add_run(slab)
    pool.end_filling(slab)
    pool.end_run(slab)


def test_a_slab_for_one_message_wastes_little():
    for needed in (1, 4096, 100_000, MIB + 8, 16 * MIB + 8, 10**9 + 7):
        assert needed <= slab_size_for(needed) <= max(4096, needed * 17 / 16 + 1)


def test_the_bound_holds_and_memory_comes_back():
    pool = SlabPool(4 * MIB)
    slabs = [pool.acquire(MIB, 0) for _ in range(4)]
    assert all(slabs)
    assert pool.in_use_bytes == pool.peak_bytes == 4 * MIB
    for slab in slabs[1:]:
        pool.add_run(slab)
    assert pool.acquire(MIB, 0) is None
    assert pool.acquire(MIB, 0.01) is None
    pool.end_filling(slabs[0])
    assert pool.acquire(MIB, 0) is not None


def test_memory_is_used_again_without_asking_the_system():
    pool = SlabPool(4 * MIB)
    first = pool.acquire(MIB, 0)
    data = first.data
    first.view[:4] = b"seen"
    deliver(pool, first)
    del first
    assert pool.acquire(MIB, 0).data is not data  # the test itself still refers to it
    del data
    slab = pool.acquire(MIB, 0)
    slab.view[:4] = b"seen"
    deliver(pool, slab)
    del slab
    assert bytes(pool.acquire(MIB, 0).view[:4]) == b"seen"


def test_memory_that_somebody_still_looks_at_is_never_overwritten():
    pool = SlabPool(64 * MIB)
    kept = []
    for number in range(20):
        slab = pool.acquire(MIB, 0)
        slab.view[:8] = number.to_bytes(8, "big")
        kept.append(slab.view[:8])
        deliver(pool, slab)
        del slab
    assert [int.from_bytes(view, "big") for view in kept] == list(range(20))
    assert pool.in_use_bytes == 0


def test_a_view_that_is_let_go_one_message_later_does_not_cost_the_memory():
    pool = SlabPool(64 * MIB)
    addresses = set()
    last = None
    for _ in range(20):
        slab = pool.acquire(MIB, 0)
        addresses.add(id(slab.data))
        deliver(pool, slab)
        last, slab = slab.data, None  # noqa: F841 (held, as a loop variable holds a message)
    assert len(addresses) <= 4


def test_a_message_above_the_bound_is_let_in_alone():
    pool = SlabPool(MIB)
    landing = pool.acquire(8, 0)
    assert landing.is_landing
    small = pool.acquire(200_000, 0)
    pool.add_run(small)
    pool.end_filling(small)
    assert pool.acquire(5 * MIB, 0) is None
    pool.end_run(small)
    long = pool.acquire(5 * MIB, 0)
    assert long is not None
    assert pool.acquire(5 * MIB, 0) is None
    deliver(pool, long)
    assert pool.acquire(5 * MIB, 0) is not None


def test_who_asks_first_is_served_first_even_if_it_asks_for_more(wait_for):
    pool = SlabPool(4 * MIB)
    slabs = [pool.acquire(MIB, 0) for _ in range(4)]
    for slab in slabs:
        pool.add_run(slab)
        pool.end_filling(slab)
    order = []

    def ask(name, size):
        pool.acquire(size, 10)
        order.append(name)

    long = threading.Thread(target=ask, args=("long", 3 * MIB))
    long.start()
    wait_for(lambda: len(pool._line) == 1)
    short = threading.Thread(target=ask, args=("short", MIB))
    short.start()
    wait_for(lambda: len(pool._line) == 2)
    for slab in slabs[:3]:
        assert order == []
        pool.end_run(slab)
    long.join(20)
    assert order == ["long"]
    pool.close()
    short.join(20)
    assert pool.waited_seconds > 0


def test_closing_wakes_who_waits():
    pool = SlabPool(MIB)
    slab = pool.acquire(MIB, 0)
    pool.add_run(slab)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(pool.acquire(MIB, 60)))
    thread.start()
    time.sleep(0.05)
    pool.close()
    thread.join(5)
    assert answers == [None]


def test_many_readers_get_smaller_landing_slabs():
    pool = SlabPool(256 * MIB)
    assert pool.landing_bytes == LANDING_BYTES
    pool.add_readers(200)
    assert pool.landing_bytes * 200 <= 64 * MIB
    pool.add_readers(1_000_000)
    assert pool.landing_bytes == SMALLEST_LANDING_BYTES


def test_adopted_memory_counts_while_it_is_in_use():
    pool = SlabPool(MIB)
    payload = memoryview(bytes(700_000))
    slab = pool.adopt(payload, 0)
    pool.add_run(slab)
    pool.end_filling(slab)
    assert pool.in_use_bytes == 700_000
    assert pool.adopt(payload, 0) is None
    pool.end_run(slab)
    assert pool.in_use_bytes == 0


class PoolMachine(RuleBasedStateMachine):
    """Any order of calls keeps the bound, except for one message that is let in alone."""

    LIMIT = 2 * MIB

    def __init__(self):
        super().__init__()
        self.pool = SlabPool(self.LIMIT)
        self.filling = []
        self.runs = []

    @rule(size=st.sampled_from([1, 1000, 100_000, OWN_SLAB_BYTES, 500_000, MIB, 3 * MIB]))
    def acquire(self, size):
        used = sum(slab.capacity for slab in {*self.filling, *self.runs})
        busy = {slab for slab in self.filling if not slab.is_landing} | set(self.runs)
        slab = self.pool.acquire(size, 0)
        if slab is None:
            is_short = size <= min(self.pool.landing_bytes, OWN_SLAB_BYTES - 1)
            wanted = self.pool.landing_bytes if is_short else slab_size_for(size)
            assert used + wanted > self.LIMIT
            assert busy
        else:
            assert len(slab.view) >= size
            assert used + slab.capacity <= self.LIMIT or not busy
            self.filling.append(slab)

    @precondition(lambda self: self.filling)
    @rule(data=st.data())
    def add_run(self, data):
        slab = data.draw(st.sampled_from(self.filling))
        self.pool.add_run(slab)
        self.runs.append(slab)

    @precondition(lambda self: self.filling)
    @rule(data=st.data())
    def end_filling(self, data):
        slab = self.filling.pop(data.draw(st.integers(0, len(self.filling) - 1)))
        self.pool.end_filling(slab)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def end_run(self, data):
        slab = self.runs.pop(data.draw(st.integers(0, len(self.runs) - 1)))
        self.pool.end_run(slab)

    @invariant()
    def counts_what_is_in_use(self):
        slabs = {*self.filling, *self.runs}
        assert self.pool.in_use_bytes == sum(slab.capacity for slab in slabs)


PoolMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestPool = PoolMachine.TestCase
