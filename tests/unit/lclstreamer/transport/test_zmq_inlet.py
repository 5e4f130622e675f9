"""ZeroMQ producers cannot be told that a message was not taken; the account must."""

from __future__ import annotations

import threading
import time

import pytest

from lclstreamer.transport.run_queue import RunQueue, Seat
from lclstreamer.transport.slabs import SlabPool
from lclstreamer.transport.url import parse_endpoint
from lclstreamer.transport.window import Everything
from lclstreamer.transport.zmq_inlet import ZmqInlet

zmq = pytest.importorskip("zmq")


@pytest.mark.parametrize("payload_bytes", [14_000, 300_000], ids=["copied", "adopted"])
def test_a_message_that_came_when_there_was_no_room_any_more_is_told(payload_bytes):
    pool = SlabPool(payload_bytes + payload_bytes // 2)
    inlet = ZmqInlet(
        parse_endpoint("zmq+tcp://127.0.0.1:0"),
        pool,
        RunQueue(pool),
        listen=True,
        max_message_bytes=1 << 20,
    )
    thread = threading.Thread(target=inlet.run, args=(lambda _: None, lambda _: None), daemon=True)
    thread.start()
    with zmq.Context() as context, context.socket(zmq.PUSH) as producer:
        producer.connect(str(inlet.endpoint).removeprefix("zmq+"))
        for _ in range(2):  # the second finds the first in its place, and nobody takes that
            producer.send(bytes(payload_bytes))
        deadline = time.monotonic() + 20
        while not pool._line and time.monotonic() < deadline:
            time.sleep(0.01)
        pool.close()
        inlet.abort()
        thread.join(20)
        producer.linger = 0
    assert inlet.record.messages == 1
    assert inlet.record.lost_bytes == payload_bytes
    assert f"a message of {payload_bytes} bytes that had come was dropped" in " ".join(
        inlet.record.problems
    )


def test_messages_of_a_producer_that_has_left_are_not_lost_without_a_word():
    pool = SlabPool(20_000)
    queue = RunQueue(pool)
    inlet = ZmqInlet(
        parse_endpoint("zmq+tcp://127.0.0.1:0"), pool, queue, listen=True, max_message_bytes=1 << 20
    )
    with zmq.Context() as context, context.socket(zmq.PUSH) as producer:
        producer.connect(str(inlet.endpoint).removeprefix("zmq+"))
        for _ in range(3):
            producer.send(bytes(14_000))
    deadline = time.monotonic() + 20
    while not inlet.peers_left and time.monotonic() < deadline:
        inlet._socket.await_events(0.05)  # its end is known before its messages are taken
    thread = threading.Thread(target=inlet.run, args=(lambda _: None, lambda _: None), daemon=True)
    thread.start()
    while not pool._line and time.monotonic() < deadline:
        time.sleep(0.01)
    inlet.drain()
    inlet.abort()
    seat = Seat(Everything())
    queue.join(seat)
    while thread.is_alive() and time.monotonic() < deadline:
        if (run := queue.take(seat, 0.05)) is not None:
            queue.end(seat, run)
    assert inlet.record.messages == 2
    assert "what was still on its way is not known" in " ".join(inlet.record.problems)
