import threading
import time

import pytest

from lclstreamer.core.errors import IncompleteStreamError, InternalError, UnavailableError
from lclstreamer.core.events import Message
from lclstreamer.handlers.streaming import BinaryDataStreamingDataHandler
from lclstreamer.parameters.handlers import BinaryDataStreamingDataHandlerParameters
from lclstreamer.transport.connect import open_pull

LIBRARIES = ["nng", "zmq"]
SCHEMES = {"nng": "tcp", "zmq": "zmq+tcp"}


def handler_to(urls, library="nng", rank=0, size=1, **parameters):
    values = {
        "type": "BinaryDataStreamingDataHandler", "urls": [str(url) for url in urls],
        "connect_timeout_seconds": 10, "send_timeout_seconds": 10, "close_timeout_seconds": 20,
    }  # fmt: skip
    if not any(str(url).startswith("zmq") for url in urls):
        values["library"] = library
    return BinaryDataStreamingDataHandler(
        BinaryDataStreamingDataHandlerParameters(**{**values, **parameters}), rank, size
    )


def message(sequence, size_bytes=1000, rank=0):
    payload = sequence.to_bytes(8, "big") * (size_bytes // 8)
    return Message(payload, rank=rank, sequence=sequence, events=1)


def send_all(handler, sequences, size_bytes=1000):
    for sequence in sequences:
        handler.handle(message(sequence, size_bytes))


class Receiver:
    """A listening pull socket with a thread that collects sequence numbers."""

    def __init__(self, library, *, expected_producers=1, pause_seconds=0.0):
        self.socket = open_pull(
            f"{SCHEMES[library]}://127.0.0.1:0",
            listen=True,
            timeout_seconds=10,
            expected_producers=expected_producers,
        )
        self.url = self.socket.endpoint
        self.sequences = []
        self.sizes = set()
        self._pause_seconds = pause_seconds
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        for payload in self.socket:
            self.sequences.append(int.from_bytes(payload[:8], "big"))
            self.sizes.add(len(payload))
            time.sleep(self._pause_seconds)

    def finish(self):
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        self.socket.close()
        return self.sequences


@pytest.mark.parametrize("library", LIBRARIES)
def test_messages_arrive_in_order_and_are_counted(library):
    receiver = Receiver(library)
    handler = handler_to([receiver.url])
    handler.open()
    send_all(handler, range(100), 80_000)
    report = handler.close()
    assert receiver.finish() == list(range(100))
    assert (report.messages, report.bytes, report.problems) == (100, 8_000_000, [])
    assert report.confirmed_messages == (100 if library == "nng" else None)
    # ZeroMQ has no word for the end of a stream.
    reason = {"nng": "end_of_stream", "zmq": "disconnected"}[library]
    assert receiver.socket.end.reason == reason


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_tail_of_large_messages_is_not_lost(library):
    """Upstream closes with what is still queued thrown away: 1 or 2 of 20 large frames are lost."""
    receiver = Receiver(library, pause_seconds=0.05)
    handler = handler_to([receiver.url])
    handler.open()
    send_all(handler, range(12), 16_000_000)
    report = handler.close()
    assert receiver.finish() == list(range(12))
    assert receiver.sizes == {16_000_000}
    assert report.problems == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_one_message_larger_than_the_buffer_passes(library):
    receiver = Receiver(library)
    handler = handler_to([receiver.url], buffer=100_000)
    handler.open()
    handler.handle(message(7, 67_000_000))
    assert handler.close().problems == []
    assert receiver.finish() == [7]


def receive_with_pyzmq(url, count, pause_seconds, ready):
    import zmq

    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.set(zmq.RCVHWM, 1)
        socket.set(zmq.RCVTIMEO, 20_000)
        socket.bind(url)
        ready.set()
        for _ in range(count):
            yield socket.recv()
            time.sleep(pause_seconds)


def receive_with_pynng(url, count, pause_seconds, ready):
    import pynng

    with pynng.Pull0(listen=url, recv_timeout=20_000) as socket:
        ready.set()
        for _ in range(count):
            yield socket.recv()
            time.sleep(pause_seconds)


@pytest.mark.parametrize(
    ("library", "receive"), [("zmq", receive_with_pyzmq), ("nng", receive_with_pynng)]
)
def test_slow_programs_nobody_here_wrote_get_every_byte(library, receive, free_url):
    count, size_bytes = 6, 16_000_000
    received, ready = [], threading.Event()
    receiver = threading.Thread(
        target=lambda: received.extend(
            (int.from_bytes(payload[:8], "big"), len(payload))
            for payload in receive(free_url, count, 0.1, ready)
        )
    )
    receiver.start()
    assert ready.wait(10)
    handler = handler_to([free_url], library=library)
    handler.open()
    send_all(handler, range(count), size_bytes)
    report = handler.close()
    receiver.join(timeout=30)
    assert received == [(sequence, size_bytes) for sequence in range(count)]
    assert (report.messages, report.confirmed_messages, report.problems) == (count, None, [])


def test_no_receiver_is_told_at_the_start(free_url):
    """Upstream loses up to five messages with exit code 0, and blocks for ever after the sixth."""
    started = time.monotonic()
    handler = handler_to([free_url], connect_timeout_seconds=0.5)
    with pytest.raises(UnavailableError):
        handler.open()
    assert time.monotonic() - started < 5
    report = handler.close()
    assert (report.messages, report.confirmed_messages) == (0, None)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_server_nobody_dials_gives_up_after_the_timeout(library):
    url = f"{SCHEMES[library]}://127.0.0.1:0"
    handler = handler_to(
        [url], role="server", buffer=50_000, send_timeout_seconds=0.4, close_timeout_seconds=0.4
    )
    handler.open()
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=r"found no receiver for 0\.4 s"):
        send_all(handler, range(1000), 40_000)
    report = handler.close()
    assert report.problems
    assert report.messages < 1000
    assert time.monotonic() - started < 10


def test_a_receiver_that_leaves_is_told():
    """Upstream's producer ends with exit code 0 after the receiver took one message."""
    socket = open_pull("tcp://127.0.0.1:0", listen=True)
    handler = handler_to([socket.endpoint], buffer=200_000)
    handler.open()
    handler.handle(message(0, 100_000))
    assert socket.receive(timeout_seconds=10) is not None
    socket.close()
    with pytest.raises((IncompleteStreamError, UnavailableError)):
        send_all(handler, range(1, 200), 100_000)
    report = handler.close()
    assert report.problems
    assert report.confirmed_messages == 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_distribute_gives_each_rank_one_url(library):
    receivers = [Receiver(library, expected_producers=2) for _ in range(2)]
    handlers = [
        handler_to([r.url for r in receivers], rank=rank, size=4, distribute=True)
        for rank in range(4)
    ]
    for rank, handler in enumerate(handlers):
        handler.open()
        handler.handle(message(rank))
        assert handler.close().problems == []
    assert [sorted(r.finish()) for r in receivers] == [[0, 2], [1, 3]]


@pytest.mark.parametrize("library", LIBRARIES)
def test_several_urls_share_the_messages_and_none_is_sent_twice(library):
    """Upstream's pages promise a copy for each url; its sockets deal, and so does this."""
    receivers = [Receiver(library) for _ in range(3)]
    handler = handler_to([r.url for r in receivers])
    handler.open()
    send_all(handler, range(90), 50_000)
    report = handler.close()
    shares = [receiver.finish() for receiver in receivers]
    assert sorted(n for share in shares for n in share) == list(range(90))
    assert all(shares)
    assert (report.messages, report.problems) == (90, [])


def test_a_slow_url_does_not_hold_up_the_others():
    slow, quick = Receiver("nng", pause_seconds=0.3), Receiver("nng")
    handler = handler_to([slow.url, quick.url], buffer=100_000)
    handler.open()
    send_all(handler, range(60), 40_000)
    assert handler.close().problems == []
    assert sorted(slow.finish() + quick.finish()) == list(range(60))
    assert len(quick.sequences) > 2 * len(slow.sequences)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_listening_handler_serves_who_dials_it(library):
    handler = handler_to([f"{SCHEMES[library]}://127.0.0.1:0"], role="server")
    handler.open()
    (url,) = handler.endpoints
    with open_pull(url, timeout_seconds=10) as socket:
        send_all(handler, range(20))
        closing = threading.Thread(target=handler.close)
        closing.start()
        received = [int.from_bytes(payload[:8], "big") for payload in socket]
        closing.join(timeout=30)
    assert received == list(range(20))
    assert handler.close().problems == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_port_in_use_is_told_with_a_mend(library):
    receiver = open_pull(f"{SCHEMES[library]}://127.0.0.1:0", listen=True)
    handler = handler_to([receiver.endpoint], role="server")
    with pytest.raises(UnavailableError) as caught:
        handler.open()
    assert str(receiver.endpoint.port) in str(caught.value)
    receiver.close()


def test_linger_only_sets_how_long_the_end_may_take(free_url):
    handler = handler_to(["tcp://127.0.0.1:0"], role="server", linger=300)
    handler.open()
    handler.handle(message(0))
    started = time.monotonic()
    report = handler.close()
    assert 0.2 < time.monotonic() - started < 5
    assert report.problems


def test_a_handler_that_is_not_open_refuses():
    with pytest.raises(InternalError, match="not open"):
        handler_to(["tcp://127.0.0.1:1"]).handle(message(0))
