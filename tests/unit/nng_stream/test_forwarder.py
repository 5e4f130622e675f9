"""The moments at which something happens to a buffer, forced."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading

import pytest
from nng_stream.forwarder import Buffer
from nng_stream.lifecycle import State
from nng_stream.settings import BufferSettings

from lclstreamer.transport import sp, zmq_outlet
from lclstreamer.transport.connect import open_pull, open_push


def test_a_signal_may_come_between_any_two_lines(tmp_path):
    buffer = Buffer(BufferSettings(directory=tmp_path))

    def handle(_frame, _event, _argument):
        buffer.drain()
        return handle

    def serve():
        sys.settrace(handle)
        buffer.run()

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    serving.join(20)
    assert not serving.is_alive()


def test_who_was_greeting_when_the_ports_closed_is_turned_away(tmp_path, wait_for):
    """Its messages would come behind the end that consumers have been told."""
    settings = BufferSettings(directory=tmp_path, expected_producers=1, expected_consumers=2)
    buffer = Buffer(settings)
    serving = threading.Thread(target=buffer.run, daemon=True)
    serving.start()
    (inlet, _), (outlet, _) = buffer.inlets.endpoints, buffer.outlets.endpoints
    with socket.create_connection((inlet.host, inlet.port), 20) as late:
        with late.makefile("rb") as stream:
            assert stream.read(sp.GREETING_BYTES) == sp.greeting(sp.PULL)
        push = open_push(inlet)
        push.send(b"all there is")
        assert push.close(20).problems == []
        with open_pull(outlet) as pull:
            assert [bytes(message) for message in pull] == [b"all there is"]
        assert pull.end.ledger["received"]["messages"] == 1
        late.sendall(sp.greeting(sp.PUSH) + sp.frame_header(8) + b"too late")
        wait_for(lambda: buffer.inlets.census.seen == 2, what="the late producer's greeting")
        wait_for(lambda: buffer.inlets.is_done, what="the late producer's end")
    with open_pull(outlet) as pull:
        assert list(pull) == []
    serving.join(20)
    assert buffer.state is State.FINISHED
    assert buffer.ledger(is_final=True).received.messages == 1


def test_a_plain_producer_that_a_drain_cuts_off_amid_its_messages_is_a_problem(tmp_path, wait_for):
    """It cannot say how many there were, and whoever sees no problem takes them for all."""
    buffer = Buffer(BufferSettings(directory=tmp_path))
    serving = threading.Thread(target=buffer.run, daemon=True)
    serving.start()
    inlet, _ = buffer.inlets.endpoints
    with socket.create_connection((inlet.host, inlet.port), 20) as plain:
        plain.sendall(sp.greeting(sp.PUSH))
        stop = threading.Event()

        def send():
            with contextlib.suppress(OSError):
                while not stop.wait(0.001):
                    plain.sendall(sp.frame_header(1) + b"x")

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        wait_for(lambda: buffer.inlets.records() and buffer.inlets.records()[0].messages > 3)
        buffer.inlets.drain()
        buffer.inlets.abort()  # as after the time of grace
        wait_for(lambda: buffer.inlets.is_done, what="the end of the connection")
        stop.set()
        sending.join(20)
    (problem,) = buffer.ledger().problems
    assert "cut off" in problem
    buffer.stop()
    buffer.stop()
    serving.join(20)


def test_what_zeromq_still_holds_when_the_time_is_over_is_a_problem(
    tmp_path, monkeypatch, wait_for
):
    zmq = pytest.importorskip("zmq")
    monkeypatch.setattr(zmq_outlet, "HIGH_WATER_MESSAGES", 1000)
    settings = {"expected_producers": 1, "drain_timeout_seconds": 2, "stop_timeout_seconds": 0.3}
    buffer = Buffer(BufferSettings(directory=tmp_path, **settings))
    serving = threading.Thread(target=buffer.run, daemon=True)
    serving.start()
    (inlet, _), (_, outlet) = buffer.inlets.endpoints, buffer.outlets.endpoints
    with zmq.Context() as context, context.socket(zmq.PULL) as consumer:
        consumer.set(zmq.RCVHWM, 1)
        consumer.connect(str(outlet).removeprefix("zmq+"))
        push = open_push(inlet)
        for _ in range(400):
            push.send(bytes(60_000))  # more than the kernel holds, and nobody receives it
        assert push.close(20).problems == []
        serving.join(20)
    wait_for(lambda: buffer.outlets.is_done, what="the end of ZeroMQ's patience")
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert ledger["unconfirmed"]["messages"] == 400
    assert ledger["state"] == "incomplete"
    assert ledger["problems"] == ["it ended while messages were still on their way out or in"]
