"""Our sockets against pynng's and pyzmq's, each side listening and dialing."""

from __future__ import annotations

import hashlib
import threading

import pytest

from lclstreamer.transport.connect import open_pull, open_push

pytestmark = pytest.mark.interop

SIZES = [1, 4096, 300_000, 1 << 20, 5, 3 << 20, 17]
# No empty message: pynng 0.9 sends them, but cannot receive them.
SCHEME = {"pynng": "tcp", "zmq": "zmq+tcp"}


def digests(messages):
    return sorted((len(data), hashlib.sha256(data).hexdigest()) for data in messages)


def told(running):
    lines = [line.split() for line in running.stdout.splitlines() if line != "begun"]
    return sorted((int(size), digest) for size, digest in lines)


@pytest.mark.parametrize("library", ["pynng", "zmq"])
@pytest.mark.parametrize("we_listen", [True, False])
def test_we_push_and_they_pull(foreign, wait_for, free_port, library, we_listen):
    url = f"{SCHEME[library]}://127.0.0.1:{free_port()}"
    messages = [hashlib.sha256(b"%d" % size).digest()[:1] * size for size in SIZES]
    if we_listen:
        push = open_push(url, listen=True)
        puller = foreign(f"pull_{library}", url, "dial")
    else:
        puller = foreign(f"pull_{library}", url, "listen")
        push = open_push(url)
    for message in messages:
        push.send(message)
    report = push.close(20)
    assert puller.wait() == 0, puller.stderr
    assert told(puller) == digests(messages)
    assert report.problems == []
    assert report.confirmed_messages is None


@pytest.mark.parametrize("library", ["pynng", "zmq"])
@pytest.mark.parametrize("we_listen", [True, False])
def test_they_push_and_we_pull(foreign, wait_for, free_port, tmp_path, library, we_listen):
    url = f"{SCHEME[library]}://127.0.0.1:{free_port()}"
    file = tmp_path / "close"
    count, size = 200, 30_000
    if we_listen:
        pull = open_pull(url, listen=True)
        pusher = foreign(f"push_{library}", url, "dial", "theirs", count, size, file)
    else:
        pusher = foreign(f"push_{library}", url, "listen", "theirs", count, size, file)
        pull = open_pull(url)
    received = []

    def receive():
        for message in pull:
            received.append(bytes(message))

    thread = threading.Thread(target=receive)
    thread.start()
    wait_for(lambda: len(received) == count, what=f"{count} messages")
    file.touch()
    thread.join(20)
    assert pusher.wait() == 0, pusher.stderr
    assert [len(message) for message in received] == [size] * count
    assert [message.split(b":")[1] for message in received] == [b"%d" % i for i in range(count)]
    assert pull.end.reason == "disconnected"
    assert pull.end.problems == []
    pull.close()
