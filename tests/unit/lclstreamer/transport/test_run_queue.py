from __future__ import annotations

import struct
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lclstreamer.transport import run_queue
from lclstreamer.transport.packer import Packer
from lclstreamer.transport.run_queue import RunQueue, Seat
from lclstreamer.transport.slabs import SlabPool
from lclstreamer.transport.window import AdaptiveWindow, Everything, FairShare

MIB = 1 << 20


class Bench:
    """A queue with a source of numbered messages."""

    def __init__(self, limit_bytes=64 * MIB):
        self.pool = SlabPool(limit_bytes)
        self.queue = RunQueue(self.pool)
        self.packer = Packer(self.pool)
        self.number = 0

    def put(self, count=1, size=8):
        for _ in range(count):
            payload = struct.pack(">Q", self.number) + bytes(size - 8)
            self.number += 1
            assert self.packer.add(memoryview(payload), 0)
            self.queue.put(self.packer.take())

    def seat(self, window=None):
        seat = Seat(window or Everything())
        self.queue.join(seat)
        return seat


def numbers(run):
    return [struct.unpack(">Q", view[:8])[0] for view in run.payloads()]


def test_messages_come_in_order_and_join_to_one_run():
    bench = Bench()
    seat = bench.seat()
    bench.put(100)
    run = bench.queue.take(seat, 0)
    assert numbers(run) == list(range(100))
    assert bench.queue.take(seat, 0) is None
    assert (bench.queue.queued_messages, bench.queue.queued_bytes) == (0, 0)
    assert bench.queue.unfinished() == (100, 800)
    bench.queue.end(seat, run)
    assert bench.queue.unfinished() == (0, 0)


def test_memory_returns_when_a_run_ends():
    bench = Bench()
    seat = bench.seat()
    bench.put(100)
    bench.packer.release()
    run = bench.queue.take(seat, 0)
    assert bench.pool.in_use_bytes > 0
    bench.queue.end(seat, run)
    assert bench.pool.in_use_bytes == 0


def test_acknowledgements_end_runs_and_count():
    bench = Bench()
    seat = bench.seat()
    bench.put(10)
    bench.queue.take(seat, 0)
    assert bench.queue.acknowledge(seat, 4)
    assert bench.queue.held_messages == 6
    assert bench.queue.acknowledge(seat, 10)
    assert bench.queue.held_messages == 0
    assert seat.acknowledged_bytes == 80


@pytest.mark.parametrize("told", [11, 3, 10**9])
def test_impossible_acknowledgements_are_refused(told):
    bench = Bench()
    seat = bench.seat()
    bench.put(10)
    bench.queue.take(seat, 0)
    assert bench.queue.acknowledge(seat, 4)
    assert not bench.queue.acknowledge(seat, told)
    assert bench.queue.held_messages == 6


def test_what_a_dead_consumer_has_not_acknowledged_goes_to_another_first():
    bench = Bench()
    dead, other = bench.seat(), bench.seat()
    bench.put(10)
    bench.queue.take(dead, 0)
    bench.packer.release()
    bench.put(5)
    bench.queue.acknowledge(dead, 3)
    assert bench.queue.leave(dead) == 7
    found = []
    while run := bench.queue.take(other, 0):
        found += numbers(run)
        bench.queue.end(other, run)
    assert found == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert (bench.queue.redelivered_messages, bench.queue.redelivered_bytes) == (7, 56)
    bench.packer.release()
    assert bench.pool.in_use_bytes == 0


def test_new_messages_do_not_join_what_is_delivered_again():
    bench = Bench()
    dead, other = bench.seat(), bench.seat()
    bench.put(2)
    bench.queue.take(dead, 0)
    bench.queue.leave(dead)
    bench.put(2)
    assert numbers(bench.queue.take(other, 0)) == [0, 1]
    assert bench.queue.redelivered_messages == 2


def test_what_was_sent_to_one_who_cannot_confirm_is_not_sent_again():
    bench = Bench()
    plain = bench.seat(FairShare())
    bench.put(10)
    run = bench.queue.take(plain, 0)
    run.acknowledged = 6  # what the kernel took before the connection broke
    assert bench.queue.leave(plain) == 4
    assert bench.queue.redelivered_messages == 0
    assert bench.queue.unfinished() == (4, 32)


def test_two_consumers_share_a_few_messages():
    bench = Bench()
    first, second = bench.seat(FairShare()), bench.seat(FairShare())
    bench.put(10)
    one = bench.queue.take(first, 0)
    other = bench.queue.take(second, 0)
    assert one.messages == 5
    assert other.messages >= 2
    assert numbers(one) + numbers(other) == list(range(5 + other.messages))


def test_taking_waits_for_a_message_and_wakes_for_it():
    bench = Bench()
    seat = bench.seat()
    taken = []
    thread = threading.Thread(target=lambda: taken.append(bench.queue.take(seat, 60)))
    thread.start()
    time.sleep(0.05)
    begun = time.monotonic()
    bench.put()
    thread.join(5)
    assert time.monotonic() - begun < 1
    assert numbers(taken[0]) == [0]


def test_taking_ends_in_time_and_when_everything_is_delivered():
    bench = Bench()
    seat = bench.seat()
    begun = time.monotonic()
    assert bench.queue.take(seat, 0.05) is None
    assert time.monotonic() - begun >= 0.05
    thread = threading.Thread(target=bench.queue.take, args=(seat, 60))
    thread.start()
    time.sleep(0.05)
    bench.queue.close()
    thread.join(5)
    assert not thread.is_alive()
    assert bench.queue.is_delivered


def test_an_interrupt_when_the_call_has_just_been_heard_is_no_deadlock():
    """Python raises what a signal's handler raises as soon as the wait has returned."""
    bench = Bench()
    seat = bench.seat()
    bell, came_out = seat._bell, []

    def hear(**how):
        heard = bell.acquire(**how)
        if heard and "timeout" in how:
            raise KeyboardInterrupt
        return heard

    seat._bell = SimpleNamespace(acquire=hear, release=bell.release)

    def take():
        try:
            bench.queue.take(seat, 60)
        except KeyboardInterrupt as interrupt:
            came_out.append(interrupt)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    while not seat.is_waiting:
        time.sleep(0.001)
    bench.put()
    thread.join(5)
    assert came_out
    assert bell.locked()
    assert numbers(bench.queue.take(bench.seat(), 0)) == [0]


def test_delivery_waits_for_what_is_held():
    bench = Bench()
    seat = bench.seat()
    bench.put(3)
    bench.queue.take(seat, 0)
    bench.queue.close()
    assert not bench.queue.wait_delivered(0.01)
    bench.queue.acknowledge(seat, 3)
    assert bench.queue.wait_delivered(0.01)


@pytest.mark.parametrize("step", ["take", "leave"])
def test_a_run_between_queue_and_seat_is_not_delivered(step, monkeypatch):
    """Whoever is told so in that moment tells the end to a consumer that may still be needed."""
    bench = Bench()
    answers, askers = [], []

    def ask():
        asker = threading.Thread(target=lambda: answers.append(bench.queue.is_delivered))
        askers.append(asker)
        asker.start()
        asker.join(0.1)

    class Moment(Everything):
        retains = property(lambda _: ask() or True)  # looked at while the run goes back

    seat = bench.seat(Moment())
    bench.put(1)
    bench.queue.close()
    if step == "take":
        clock = SimpleNamespace(monotonic=lambda: ask() or time.monotonic())
        monkeypatch.setattr(run_queue, "time", clock)  # looked at while the run is taken
    bench.queue.take(seat, 0)
    if step == "leave":
        bench.queue.leave(seat)
    for asker in askers:
        asker.join(5)
    assert answers == [False]


def test_a_new_consumer_gets_one_message_and_a_quick_one_more_and_more():
    bench = Bench()
    seat = bench.seat(AdaptiveWindow(MIB))
    bench.put(200, size=1000)
    sizes = []
    while (run := bench.queue.take(seat, 0)) is not None:
        sizes.append(run.messages)
        assert bench.queue.take(seat, 0) is None or sizes[-1] > 1
        bench.queue.acknowledge(seat, sum(r.messages for r in seat.held) + seat.acknowledged)
    assert sizes[0] == 1
    assert sizes[-1] > 20


def test_a_slow_consumer_is_given_less_again():
    window = AdaptiveWindow(MIB)
    bench = Bench()
    seat = bench.seat(window)
    bench.put(2000, size=1000)

    def largest_take(seconds):
        run = bench.queue.take(seat, 0)
        run.taken_at -= seconds
        bench.queue.acknowledge(seat, seat.acknowledged + run.messages)
        return run.messages

    quick = [largest_take(0) for _ in range(9)]
    slow = [largest_take(2) for _ in range(12)]
    assert quick == sorted(quick)
    assert slow[-1] == 1


def test_one_message_may_always_be_held_however_long():
    bench = Bench()
    seat = bench.seat(AdaptiveWindow(1000))
    bench.put(2, size=50_000)
    assert bench.queue.take(seat, 0).messages == 1
    assert bench.queue.take(seat, 0) is None


class QueueMachine(RuleBasedStateMachine):
    """Whatever consumers do, each message ends exactly once, and what is held is known."""

    def __init__(self):
        super().__init__()
        self.bench = Bench()
        self.seats = {}
        self.ended = []

    @rule(count=st.integers(1, 20), size=st.sampled_from([8, 100, 5000]))
    def put(self, count, size):
        self.bench.put(count, size)

    @rule(kind=st.sampled_from([Everything, FairShare, lambda: AdaptiveWindow(20_000)]))
    def join(self, kind):
        self.seats[self.bench.seat(kind())] = []

    @precondition(lambda self: self.seats)
    @rule(data=st.data())
    def take(self, data):
        seat = data.draw(st.sampled_from(list(self.seats)))
        run = self.bench.queue.take(seat, 0)
        if run is None:
            return
        if seat.window.retains:
            self.seats[seat] += numbers(run)
        else:
            self.ended += numbers(run)
            self.bench.queue.end(seat, run)

    @precondition(lambda self: any(self.seats.values()))
    @rule(data=st.data())
    def acknowledge(self, data):
        seat = data.draw(st.sampled_from([seat for seat, held in self.seats.items() if held]))
        count = data.draw(st.integers(0, len(self.seats[seat])))
        assert self.bench.queue.acknowledge(seat, seat.acknowledged + count)
        self.ended += self.seats[seat][:count]
        del self.seats[seat][:count]

    @precondition(lambda self: self.seats)
    @rule(data=st.data())
    def leave(self, data):
        seat = data.draw(st.sampled_from(list(self.seats)))
        assert self.bench.queue.leave(seat) == len(self.seats.pop(seat))

    @invariant()
    def accounts_for_every_message(self):
        held = sum(map(len, self.seats.values()))
        assert self.bench.queue.held_messages == held
        assert self.bench.queue.unfinished()[0] == self.bench.number - len(self.ended)
        assert len(self.ended) == len(set(self.ended))

    def teardown(self):
        last = self.bench.seat()
        for seat in self.seats:
            self.bench.queue.leave(seat)
        while run := self.bench.queue.take(last, 0):
            self.ended += numbers(run)
            self.bench.queue.end(last, run)
        assert sorted(self.ended) == list(range(self.bench.number))
        self.bench.packer.release()
        assert self.bench.pool.in_use_bytes == 0


QueueMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestQueue = QueueMachine.TestCase
