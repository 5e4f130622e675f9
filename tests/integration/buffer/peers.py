"""Producers and consumers that a test can watch and kill."""

from __future__ import annotations

import json
import sys
import time

from lclstreamer.transport.connect import open_pull, open_push


def produce(url: str, name: str, count: str, size: str, pause: str = "0") -> None:
    """Push numbered messages; print a line when everything was confirmed."""
    push = open_push(url, name=name, hello={"rank": 0})
    for number in range(int(count)):
        head = f"{name}:{number}:".encode()
        push.send(head + bytes(max(0, int(size) - len(head))))
        if number == 0:
            print("begun", flush=True)
        time.sleep(float(pause))
    report = push.close(30)
    print(json.dumps({"confirmed": report.confirmed_messages, "problems": report.problems}))


def consume(url: str, name: str, pause: str = "0", count: str = "0") -> None:
    """Pull messages and print the number of each as soon as it is taken."""
    taken = 0
    with open_pull(url, name=name) as pull:
        print("begun", flush=True)
        for message in pull:
            print(bytes(message[:40]).split(b":\0")[0].rstrip(b":").decode(), flush=True)
            taken += 1
            time.sleep(float(pause))
            if taken == int(count):
                break
    print("end", pull.end.reason if pull.end else "left", flush=True)
    print(pull.end.problems if pull.end else "", file=sys.stderr)


def hang(url: str, name: str) -> None:
    """Take one message and never finish with it."""
    pull = open_pull(url, name=name)
    pull.receive(30)
    print("begun", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    {"produce": produce, "consume": consume, "hang": hang}[sys.argv[1]](*sys.argv[2:])
