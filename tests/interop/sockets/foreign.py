"""Producers and consumers made of pynng and pyzmq alone, as anybody might write them.

Runs in a virtual environment of its own, without this project.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path


def message(name: str, number: int, size: int) -> bytes:
    """A message whose bytes depend on its name and number."""
    head = f"{name}:{number}:".encode()
    return (head + hashlib.sha256(head).digest() * (size // 32 + 1))[: max(size, len(head))]


def told_to_close(file: Path) -> None:
    """Neither library says when everything has been sent: the test sees it at the other end."""
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def push_pynng(url: str, side: str, name: str, count: int, size: int, file: Path) -> None:
    import pynng

    with pynng.Push0(**{side: url}) as push:
        for number in range(count):
            push.send(message(name, number, size))
        told_to_close(file)


def push_zmq(url: str, side: str, name: str, count: int, size: int, file: Path) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        (push.connect if side == "dial" else push.bind)(url)
        for number in range(count):
            push.send(message(name, number, size))
        told_to_close(file)


def pull_pynng(url: str, side: str) -> None:
    import pynng

    left: list[object] = []
    with pynng.Pull0(recv_timeout=200, recv_max_size=0) as pull:
        pull.add_post_pipe_remove_cb(left.append)
        getattr(pull, side)(url)
        print("begun", flush=True)
        while True:
            try:
                tell(pull.recv())
            except pynng.Timeout:
                if left:
                    return


def pull_zmq(url: str, side: str) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        monitor = pull.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        (pull.connect if side == "dial" else pull.bind)(url)
        print("begun", flush=True)
        while True:
            if pull.poll(200):
                tell(pull.recv())
            elif monitor.poll(0):
                return


def tell(data: bytes) -> None:
    print(len(data), hashlib.sha256(data).hexdigest(), flush=True)


if __name__ == "__main__":
    role, url, side, *more = sys.argv[1:]
    if role.startswith("push"):
        name, count, size, file = more
        globals()[role](url, side, name, int(count), int(size), Path(file))
    else:
        globals()[role](url, side)
