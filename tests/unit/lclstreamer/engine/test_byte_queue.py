"""The queue between two threads."""

from __future__ import annotations

import threading
import time

from lclstreamer.engine import byte_queue
from lclstreamer.engine.byte_queue import OVERHEAD_BYTES, ByteQueue


def test_order_and_end():
    queue = ByteQueue(10**6)
    for number in range(5):
        assert queue.put(number, 10)
    queue.finish()
    assert [queue.get() for _ in range(6)] == [0, 1, 2, 3, 4, None]
    assert queue.get() is None


def test_the_giver_waits_for_room(wait_for):
    queue = ByteQueue(2 * (1000 + OVERHEAD_BYTES))
    put = []

    def give():
        for number in range(6):
            put.append(queue.put(number, 1000))

    thread = threading.Thread(target=give)
    thread.start()
    wait_for(lambda: len(put) >= 2)
    time.sleep(0.2)
    assert len(put) == 2, "two fit, the third must wait"
    assert [queue.get() for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    thread.join(5)
    assert put == [True] * 6


def test_something_larger_than_the_limit_passes_alone():
    queue = ByteQueue(10)
    assert queue.put("huge", 10**9)
    assert queue.get() == "huge"


def test_many_empty_items_are_bounded_too(wait_for):
    queue = ByteQueue(10 * OVERHEAD_BYTES)
    put = []
    thread = threading.Thread(target=lambda: [put.append(queue.put(n, 0)) for n in range(11)])
    thread.start()
    wait_for(lambda: len(put) >= 10)
    time.sleep(0.2)
    assert len(put) == 10
    queue.abandon()
    thread.join(5)
    assert put[-1] is False


def test_an_abandoned_queue_takes_nothing_and_frees_the_giver(monkeypatch):
    monkeypatch.setattr(byte_queue, "RECHECK_SECONDS", 60)  # it is told, it need not look
    queue = ByteQueue(1)
    queue.put("first", 1)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(queue.put("second", 1)))
    thread.start()
    time.sleep(0.05)
    queue.abandon()
    thread.join(5)
    assert answers == [False]
    assert queue.get() is None
