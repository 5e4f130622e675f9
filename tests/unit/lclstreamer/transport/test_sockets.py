"""Both ends are ours, over real loopback sockets; see tests/interop for other programs."""

from __future__ import annotations

import hashlib
import socket
import threading
import time

import pytest

from lclstreamer.core.errors import BadInputError, IncompleteStreamError, UnavailableError
from lclstreamer.transport import sp, wire
from lclstreamer.transport.connect import open_pull, open_push
from lclstreamer.transport.records import PeerRecord
from lclstreamer.transport.sp_sockets import SpPullSocket, SpPushSocket
from lclstreamer.transport.url import parse_endpoint

LOOPBACK = "tcp://127.0.0.1:0"


def in_background(function, *arguments):
    """Run a function in a thread; its result is in the list once the thread has been joined."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*arguments)), daemon=True)
    thread.start()
    return thread, result


def push_all(url, messages, **options):
    push = open_push(url, **options)
    for message in messages:
        push.send(message, timeout_seconds=20)
    return push.close(20)


def send_each(push, messages, *, timeout_seconds, pause=0.0):
    for message in messages:
        push.send(message, timeout_seconds=timeout_seconds)
        time.sleep(pause)


def pull_all(url, **options):
    with open_pull(url, **options) as stream:
        return [bytes(message) for message in stream], stream.end


def messages_of(*sizes):
    return [hashlib.sha256(str(i).encode()).digest()[:1] * size for i, size in enumerate(sizes)]


MIXED = messages_of(0, 1, 7, 8, 100, 4096, 70_000, 200_000, 0, 1 << 20, 3, 5 << 20, 12)


@pytest.mark.parametrize("pusher_listens", [True, False])
def test_messages_of_every_size_arrive_in_order_and_are_confirmed(pusher_listens):
    if pusher_listens:
        push = open_push(LOOPBACK, listen=True)
        thread, result = in_background(pull_all, push.endpoint)
        for message in MIXED:
            push.send(message)
        report = push.close(20)
        thread.join(20)
        received, end = result[0]
    else:
        pull = open_pull(LOOPBACK, listen=True)
        thread, result = in_background(push_all, pull.endpoint, MIXED)
        received, end = [bytes(message) for message in pull], pull.end
        thread.join(20)
        report = result[0]
        pull.close()
    assert received == MIXED
    assert end.reason == "end_of_stream"
    assert (end.messages, end.bytes) == (len(MIXED), sum(map(len, MIXED)))
    assert (report.messages, report.confirmed_messages, report.problems) == (13, 13, [])


def test_an_empty_stream_has_an_end_too():
    pull = open_pull(LOOPBACK, listen=True)
    thread, result = in_background(push_all, pull.endpoint, [])
    assert list(pull) == []
    thread.join(20)
    assert pull.end.reason == "end_of_stream"
    assert result[0].confirmed_messages == 0
    pull.close()


def test_a_producer_that_could_not_send_everything_says_so_with_the_end():
    with open_pull(LOOPBACK, listen=True) as pull:
        push = open_push(pull.endpoint, name="rank 3")
        push.send(b"all there is")
        thread, result = in_background(lambda: push.close(20, missing=["message 7 found no room"]))
        assert [bytes(message) for message in pull] == [b"all there is"]
        thread.join(20)
    assert result[0].confirmed_messages == 1
    assert pull.end.reason == "incomplete"
    assert "message 7 found no room" in pull.end.problems[0]


def test_what_is_missing_is_known_when_another_producer_finds_that_all_have_ended(
    monkeypatch, wait_for
):
    """The one that leaves last by a hair ends the stream for the other as well."""
    close, other_left = PeerRecord.close, threading.Event()

    def close_and_let_the_other_leave(record, end):
        close(record, end)
        if record.name == "rank 0":
            other_left.wait(5)

    monkeypatch.setattr(PeerRecord, "close", close_and_let_the_other_leave)
    with open_pull(LOOPBACK, listen=True, expected_producers=2) as pull:
        pushes = [open_push(pull.endpoint, name=f"rank {rank}") for rank in (0, 1)]
        first, _ = in_background(lambda: pushes[0].close(20, missing=["message 7 found no room"]))
        wait_for(lambda: any(one.record.end for one in pull._producers), what="rank 0's end")
        second, _ = in_background(lambda: pushes[1].close(20))
        assert list(pull) == []
        other_left.set()
        first.join(20)
        second.join(20)
    assert pull.end.reason == "incomplete"
    assert "message 7 found no room" in pull.end.problems[0]


def test_what_a_plain_consumer_left_behind_is_in_the_report(monkeypatch, wait_for):
    close = PeerRecord.close

    def close_and_linger(record, end):
        close(record, end)
        time.sleep(0.2)  # the sender looks for it all the time

    monkeypatch.setattr(PeerRecord, "close", close_and_linger)
    push = open_push(LOOPBACK, listen=True)
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect((push.endpoint.host, push.endpoint.port))
        plain.sendall(sp.greeting(sp.PULL))
        push.send(bytes(200_000))
        wait_for(lambda: push._consumers and push._consumers[0].record.messages, what="sending")
        closing, report = in_background(lambda: push.close(20))
        wait_for(lambda: push._queue.is_delivered, what="the end of the queue")
        plain.shutdown(socket.SHUT_WR)
        closing.join(20)
    assert "bytes under way" in " ".join(report[0].problems)


@pytest.mark.parametrize("pause_seconds", [0.05, 3 * wire.TICK_SECONDS])
def test_a_consumer_whose_hello_comes_in_two_pieces_is_heard(wait_for, pause_seconds):
    """Otherwise it would be taken for one that confirms, and never told to do so."""
    push = open_push(LOOPBACK, listen=True, name="producer")
    hello = sp.encode_reverse({"lclstream": 1, "role": "pull", "name": "consumer"})
    address = push.endpoint.host, push.endpoint.port
    with socket.create_connection(address, 5) as consumer, consumer.makefile("rb") as stream:
        consumer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        consumer.sendall(sp.greeting(sp.PULL) + hello[:20])
        time.sleep(pause_seconds)
        consumer.sendall(hello[20:])
        assert stream.read(sp.GREETING_BYTES) == sp.greeting(sp.PUSH)
        (word,) = sp.read_word(stream.read(sp.HEADER_BYTES))
        assert word & sp.CONTROL_BIT
        stream.read(word & ~sp.CONTROL_BIT)
        push.send(b"x")
        assert stream.read(9) == sp.frame_header(1) + b"x"
        consumer.sendall(sp.encode_acknowledgement(1))
        wait_for(lambda: push._consumers[0].record.acknowledged_messages == 1)
    assert push.close(20).confirmed_messages == 1


def test_a_hello_that_comes_too_late_is_a_plain_consumers(wait_for):
    """It has not been told that it may confirm, so nothing may be kept until it does."""
    push = open_push(LOOPBACK, listen=True)
    address = push.endpoint.host, push.endpoint.port
    with socket.create_connection(address, 5) as consumer, consumer.makefile("rb") as stream:
        consumer.sendall(sp.greeting(sp.PULL))
        wait_for(lambda: push._consumers, what="the consumer")
        consumer.sendall(sp.encode_reverse({"lclstream": 1, "role": "pull", "name": "late"}))
        messages = [b"%d" % number for number in range(10)]
        for message in messages:
            push.send(message)
        closing, report = in_background(lambda: push.close(20))
        expected = sp.greeting(sp.PUSH) + b"".join(sp.frame_header(1) + one for one in messages)
        assert stream.read() == expected
        consumer.shutdown(socket.SHUT_WR)
        closing.join(20)
    assert (report[0].messages, report[0].confirmed_messages, report[0].problems) == (10, None, [])


def test_an_end_that_cannot_be_understood_is_no_end():
    pull = open_pull(LOOPBACK, listen=True)
    with socket.create_connection((pull.endpoint.host, pull.endpoint.port), 5) as producer:
        producer.sendall(sp.greeting(sp.PUSH) + sp.encode_control({"lclstream": 1, "name": "odd"}))
        producer.sendall(sp.frame_header(1) + b"x")
        producer.sendall(sp.encode_control({"end_of_stream": 1, "messages": 1, "missing": 5}))
        producer.shutdown(socket.SHUT_WR)
        assert [bytes(message) for message in pull] == [b"x"]
    assert pull.end.reason == "disconnected"
    assert "control frame whose 'missing' is 5" in pull.end.problems[0]


def test_several_producers_into_one_socket():
    pull = open_pull(LOOPBACK, listen=True, expected_producers=3)
    batches = [[f"{i}:{j}".encode() for j in range(500)] for i in range(3)]
    started = [in_background(push_all, pull.endpoint, batch) for batch in batches]
    received = [bytes(message) for message in pull]
    pull.close()
    assert sorted(received) == sorted(message for batch in batches for message in batch)
    for thread, result in started:
        thread.join(20)
        assert result[0].confirmed_messages == 500


def test_two_consumers_both_get_work_and_together_everything(wait_for):
    push = open_push(LOOPBACK, listen=True)
    started = [in_background(pull_all, push.endpoint) for _ in range(2)]
    wait_for(lambda: len(push._consumers) == 2, what="both consumers")
    expected = [b"%d" % number for number in range(2000)]
    for message in expected:
        push.send(message)
    report = push.close(20)
    parts = []
    for thread, result in started:
        thread.join(20)
        parts.append(result[0][0])
    assert report.confirmed_messages == 2000
    assert sorted(parts[0] + parts[1]) == sorted(expected)
    assert min(map(len, parts)) > 0


def test_a_slow_consumer_holds_the_producer_up_but_not_its_memory():
    pull = open_pull(LOOPBACK, listen=True, limit_bytes=1 << 20)
    push = open_push(pull.endpoint, limit_bytes=1 << 20)
    data = [bytes(100_000)] * 1000
    with pytest.raises(UnavailableError, match=r"took nothing for 0\.3 s"):
        send_each(push, data, timeout_seconds=0.3)
    thread, result = in_background(push.close, 20)
    count = sum(1 for _ in pull)
    thread.join(20)
    assert 10 <= count < 400
    assert result[0].confirmed_messages == result[0].messages == count
    pull.close()


def test_a_message_above_the_bound_goes_alone():
    pull = open_pull(LOOPBACK, listen=True, limit_bytes=1 << 16)
    data = [b"a" * (1 << 20), b"b" * 10, b"c" * (2 << 20)]
    thread, result = in_background(lambda: push_all(pull.endpoint, data, limit_bytes=1 << 16))
    assert [bytes(message) for message in pull] == data
    thread.join(20)
    assert result[0].problems == []
    pull.close()


def test_messages_may_be_kept():
    pull = open_pull(LOOPBACK, listen=True, limit_bytes=1 << 20)
    expected = [bytes([number]) * 50_000 for number in range(200)]
    thread, _ = in_background(push_all, pull.endpoint, expected)
    kept = list(pull)
    thread.join(20)
    pull.close()
    assert [bytes(message) for message in kept] == expected


@pytest.mark.parametrize("size", [100, 100_000, 300_000])
def test_a_changeable_buffer_may_be_used_again_at_once(size):
    pull = open_pull(LOOPBACK, listen=True)

    def produce():
        push = open_push(pull.endpoint)
        room = bytearray(size)
        for number in range(50):
            room[:] = bytes([number]) * size
            push.send(room)
        room[:] = bytes(size)
        return push.close(20)

    thread, _ = in_background(produce)
    assert [bytes(message) for message in pull] == [bytes([n]) * size for n in range(50)]
    thread.join(20)
    pull.close()


def test_a_message_that_is_too_long_is_refused_by_the_sender_with_the_reason():
    pull = open_pull(LOOPBACK, listen=True, max_message_bytes=1000)
    push = open_push(pull.endpoint)
    push.send(bytes(1000))
    with pytest.raises(BadInputError, match=r"1001 B.*longer than the 1000 B"):
        push.send(bytes(1001))
    thread, result = in_background(push.close, 20)
    assert [len(message) for message in pull] == [1000]
    thread.join(20)
    assert result[0].problems == []
    pull.close()


def test_a_plain_producer_is_told_to_go_when_its_message_is_too_long():
    pull = open_pull(LOOPBACK, listen=True, max_message_bytes=1000)
    with socket.create_connection((pull.endpoint.host, pull.endpoint.port), 5) as plain:
        plain.sendall(sp.greeting(sp.PUSH) + sp.frame_header(3) + b"abc" + sp.frame_header(1001))
        assert [bytes(message) for message in pull] == [b"abc"]
        answer = b""
        while more := plain.recv(65536):
            answer += more
    assert b'"refused"' in answer
    assert pull.end.reason == "disconnected"
    assert "more than the 1000 B" in pull.end.problems[0]
    pull.close()


def test_a_broken_message_is_dropped_and_told():
    pull = open_pull(LOOPBACK, listen=True)
    with socket.create_connection((pull.endpoint.host, pull.endpoint.port), 5) as plain:
        plain.sendall(
            sp.greeting(sp.PUSH) + sp.frame_header(3) + b"abc" + sp.frame_header(9) + b"x"
        )
    assert [bytes(message) for message in pull] == [b"abc"]
    assert pull.end.reason == "disconnected"
    assert "within a message of which 9 bytes had come" in pull.end.problems[0]
    pull.close()


def test_a_producer_that_vanishes_is_noticed():
    pull = open_pull(LOOPBACK, listen=True)
    push = open_push(pull.endpoint, name="rank 3")
    push.send(b"last words")
    assert bytes(pull.receive(5)) == b"last words"
    push._consumers[0]._wire._socket.shutdown(socket.SHUT_RDWR)
    assert pull.receive(5) is None
    assert pull.end.reason == "disconnected"
    assert (
        "rank 3: disconnected without ending its stream (after 1 messages)"
        in (pull.end.problems[0])
    )
    with pytest.raises(IncompleteStreamError, match="left after it had taken"):
        send_each(push, [b"more"] * 100, timeout_seconds=1, pause=0.01)
    assert push.close(1).problems
    pull.close()


def test_what_a_consumer_did_not_finish_goes_to_the_next_one():
    push = open_push(LOOPBACK, listen=True)
    expected = [b"%d" % number for number in range(100)]
    for message in expected:
        push.send(message)
    first = open_pull(push.endpoint)
    done = [bytes(first.receive(5)) for _ in range(10)]
    first.__exit__(ZeroDivisionError)
    thread, result = in_background(pull_all, push.endpoint)
    report = push.close(20)
    thread.join(20)
    rest, end = result[0]
    assert end.reason == "end_of_stream"
    assert sorted(set(done + rest)) == sorted(expected)
    assert len(rest) == 91  # the tenth was in hand when the first consumer failed
    assert report.messages == 100
    assert report.confirmed_messages == 100
    assert report.problems == []


def test_leaving_in_good_order_acknowledges_the_message_in_hand():
    push = open_push(LOOPBACK, listen=True)
    for number in range(10):
        push.send(b"%d" % number)
    with open_pull(push.endpoint) as first:
        assert [bytes(first.receive(5)) for _ in range(3)] == [b"0", b"1", b"2"]
    thread, result = in_background(pull_all, push.endpoint)
    push.close(20)
    thread.join(20)
    assert result[0][0] == [b"%d" % number for number in range(3, 10)]


def test_without_any_consumer_closing_ends_in_time_and_says_so():
    push = open_push(LOOPBACK, listen=True)
    push.send(b"x")
    begun = time.monotonic()
    report = push.close(0.3)
    assert time.monotonic() - begun < 3
    assert report.problems == ["1 of 1 messages were not taken within 0.3 s"]


@pytest.mark.parametrize("scheme", ["tcp", "zmq+tcp"])
@pytest.mark.parametrize("opener", [open_push, open_pull])
def test_dialing_where_nobody_listens_ends_in_time(opener, scheme, free_port):
    begun = time.monotonic()
    with pytest.raises(UnavailableError):
        opener(f"{scheme}://127.0.0.1:{free_port()}", timeout_seconds=0.3)
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("scheme", ["tcp", "zmq+tcp"])
@pytest.mark.parametrize("opener", [open_push, open_pull])
def test_a_port_in_use_is_one_clear_error(opener, scheme):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(UnavailableError, match=rf"cannot listen on .*:{port}"):
            opener(f"{scheme}://127.0.0.1:{port}", listen=True)


def test_dialing_waits_for_the_listener(free_port):
    url = f"tcp://127.0.0.1:{free_port()}"
    thread, result = in_background(lambda: push_all(url, [b"x"], timeout_seconds=10))
    time.sleep(0.2)
    assert pull_all(url, listen=True)[0] == [b"x"]
    thread.join(10)
    assert result[0].confirmed_messages == 1


def test_a_push_socket_dialing_a_push_socket_is_refused():
    push = open_push(LOOPBACK, listen=True)
    with pytest.raises(UnavailableError, match="no pulling socket answers"):
        open_push(push.endpoint, timeout_seconds=5)
    push.close(0.1)


@pytest.mark.parametrize(("opener", "kind"), [(open_push, SpPushSocket), (open_pull, SpPullSocket)])
def test_a_refusal_is_told_at_once_though_the_thread_ends_behind_its_last_word(
    opener, kind, monkeypatch
):
    serve = kind._serve

    def serve_and_linger(self, wire):
        serve(self, wire)
        time.sleep(0.2)

    monkeypatch.setattr(kind, "_serve", serve_and_linger)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        begun = time.monotonic()
        closing = threading.Thread(target=lambda: stranger.accept()[0].close(), daemon=True)
        closing.start()
        with pytest.raises(UnavailableError, match=r"no pu\w+ing socket answers"):
            opener(f"tcp://127.0.0.1:{stranger.getsockname()[1]}", timeout_seconds=20)
        assert time.monotonic() - begun < 10
        closing.join(5)


def test_strangers_do_not_disturb():
    pull = open_pull(LOOPBACK, listen=True)
    for rubbish in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\0SP\0"):
        with socket.create_connection((pull.endpoint.host, pull.endpoint.port), 5) as stranger:
            stranger.sendall(rubbish)
    thread, _ = in_background(push_all, pull.endpoint, [b"x"])
    assert [bytes(message) for message in pull] == [b"x"]
    assert pull.end.reason == "end_of_stream"
    thread.join(10)
    pull.close()


def test_receiving_ends_in_time():
    pull = open_pull(LOOPBACK, listen=True)
    with pytest.raises(UnavailableError, match="no message came"):
        pull.receive(0.1)
    pull.close()


def test_threads_end_with_the_sockets(wait_for):
    before = threading.active_count()
    push = open_push(LOOPBACK, listen=True)
    thread, _ = in_background(pull_all, push.endpoint)
    push.send(b"x")
    push.close(10)
    thread.join(10)
    wait_for(lambda: threading.active_count() <= before, what="the end of every thread")


@pytest.mark.parametrize("pusher_listens", [True, False])
def test_zeromq_carries_the_same_messages_but_cannot_confirm(pusher_listens):
    if pusher_listens:
        push = open_push("zmq+tcp://127.0.0.1:0", listen=True)
        thread, result = in_background(pull_all, push.endpoint)
        for message in MIXED:
            push.send(message)
        report = push.close(20)
        thread.join(20)
        received, end = result[0]
    else:
        pull = open_pull("zmq+tcp://127.0.0.1:0", listen=True)
        thread, result = in_background(push_all, pull.endpoint, MIXED)
        received, end = [bytes(message) for message in pull], pull.end
        thread.join(20)
        report = result[0]
        pull.close()
    assert received == MIXED
    assert end.reason == "disconnected"
    assert (report.messages, report.confirmed_messages, report.problems) == (13, None, [])


def test_closing_a_zeromq_socket_sends_everything_first():
    pull = open_pull("zmq+tcp://127.0.0.1:0", listen=True)
    thread, result = in_background(push_all, pull.endpoint, [b"x" * 3_000_000] * 20)
    thread.join(0.5)
    assert sum(len(message) for message in pull) == 60_000_000
    thread.join(20)
    assert result[0].problems == []
    pull.close()


def test_endpoints_are_told_with_the_port_that_was_chosen():
    push = open_push(parse_endpoint(LOOPBACK), listen=True)
    assert push.endpoint.port > 0
    push.close(0.1)


def test_the_kernel_sizes_its_buffers_itself():
    """A size that is set no longer grows with the delay of a wide-area link."""
    with socket.socket() as bare, socket.socket() as tuned:
        wire.tune(tuned)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            mine, kernels = (each.getsockopt(socket.SOL_SOCKET, option) for each in (tuned, bare))
            assert mine == kernels
