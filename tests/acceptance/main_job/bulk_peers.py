"""Producers and consumers of test_05: long messages, numbered at both ends."""

from __future__ import annotations

import json
import struct
import sys
import time

from lclstreamer.transport.connect import open_pull, open_push

MARK = struct.Struct(">QQ")


def produce(url: str, rank: str, count: str, size: str) -> None:
    """Push messages; tell how long the slowest had to wait, and what was confirmed."""
    push = open_push(url, name=f"rank {rank}", limit_bytes=8 << 20)
    message, longest = bytearray(int(size)), 0.0
    for number in range(int(count)):
        for offset in (0, int(size) - MARK.size):
            MARK.pack_into(message, offset, int(rank), number)
        begun = time.monotonic()
        push.send(message, timeout_seconds=300)
        longest = max(longest, time.monotonic() - begun)
    report = push.close(120)
    facts = {"confirmed": report.confirmed_messages, "longest_wait_seconds": longest}
    print(json.dumps({**facts, "problems": report.problems}))
    sys.exit(74 if report.problems else 0)


def consume(url: str, name: str, size: str, pause: str = "0") -> None:
    """Pull messages and tell which came; each must be whole."""
    came: list[tuple[int, int]] = []
    with open_pull(url, name=name) as pull:
        print("begun", flush=True)
        for message in pull:
            head, tail = MARK.unpack_from(message), MARK.unpack_from(message, int(size) - MARK.size)
            if head != tail or len(message) != int(size):
                sys.exit(f"a damaged message came: {head}, {tail}, {len(message)} bytes")
            came.append(head)
            if float(pause):
                print(*head, flush=True)
                time.sleep(float(pause))
    print(json.dumps({"came": came, "end": pull.end.reason}))
    sys.exit(0 if pull.end.reason == "end_of_stream" else 74)


if __name__ == "__main__":
    {"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
