"""Throughput through the buffer, beside zmq_proxy and a pynng relay, in one run.

    .venv/bin/python benchmarks/buffer.py [--sizes 4KiB,64KiB,1MiB,16MiB] [--rounds 3] [--json]

Every relay stands alone in its process between producers and consumers in theirs, all on loopback:

- ``ours``: nng-stream, loaded by bare sockets that speak SP and do next to nothing else;
- ``pynng``: a relay of pynng's Pull0 and Push0, under the same load;
- ``zmq_proxy``: libzmq's own proxy between pyzmq sockets (a bare load would have to speak ZMTP);
- ``ours+ack``: nng-stream between this package's own sockets, every message acknowledged.

The relays take turns within a round, so that a busy machine disturbs all alike; the best round
counts. Throughput is what all consumers received between the first byte and the last. Beside it
stands the processor time of the relay alone, per GiB: that hardly depends on what else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lclstreamer.core.units import format_bytes, parse_bytes

KIND_OF_RELAY = {"ours": "bare", "zmq_proxy": "zmq", "pynng": "bare", "ours+ack": "own"}
LIMIT = "256MiB"
BLOCK_BYTES = 1 << 20
COPY_BELOW_BYTES = 1 << 16
HOST = "127.0.0.1"
TIMEOUT_SECONDS = 120
SILENCE_SECONDS = 2.0


class Clock:
    """Counts messages and remembers when the first and the last byte came."""

    def __init__(self) -> None:
        self.first = self.last = 0.0
        self.count = 0

    def tick(self, messages: int = 1) -> None:
        self.last = time.time()
        self.first = self.first or self.last
        self.count += messages


def high_water(size: int) -> int:
    return max(4, min(1000, (64 << 20) // size))


def connect(port: int) -> socket.socket:
    connection = socket.create_connection((HOST, port), TIMEOUT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
    return connection


def produce_bare(port: int, size: int, count: int) -> None:
    connection = connect(port)
    connection.settimeout(None)
    connection.sendall(b"\0SP\0\0\x50\0\0")
    connection.recv(8, socket.MSG_WAITALL)
    frame = struct.pack(">Q", size) + bytes(size)
    per_block = max(1, min(count, BLOCK_BYTES // len(frame)))
    block = memoryview(frame * per_block)
    for _ in range(count // per_block):
        connection.sendall(block)
    connection.sendall(block[: count % per_block * len(frame)])
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(65536):
        pass


def consume_bare(port: int, size: int, clock: Clock) -> None:
    connection = connect(port)
    connection.sendall(b"\0SP\0\0\x51\0\0")
    connection.recv(8, socket.MSG_WAITALL)
    room, got = bytearray(4 << 20), 0
    print("ready", flush=True)
    try:
        while now := connection.recv_into(room):
            connection.settimeout(SILENCE_SECONDS)
            clock.tick(0)
            got += now
    except TimeoutError:
        pass  # pynng's relay does not tell the end
    clock.count, rest = divmod(got, size + 8)
    if rest:
        raise SystemExit(f"{rest} bytes of a message came")


def produce_zmq(port: int, size: int, count: int) -> None:
    import zmq

    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.set(zmq.SNDHWM, high_water(size))
    push.connect(f"tcp://{HOST}:{port}")
    message = bytes(size)
    for _ in range(count):
        push.send(message, copy=size < COPY_BELOW_BYTES)
    push.close(-1)
    context.term()


def consume_zmq(port: int, size: int, clock: Clock) -> None:
    import zmq

    pull = zmq.Context().socket(zmq.PULL)
    pull.set(zmq.RCVHWM, high_water(size))
    pull.connect(f"tcp://{HOST}:{port}")
    print("ready", flush=True)
    while pull.poll(SILENCE_SECONDS * 1000 if clock.count else TIMEOUT_SECONDS * 1000):
        try:
            while True:
                pull.recv(zmq.NOBLOCK, copy=size < COPY_BELOW_BYTES)
                clock.tick()
        except zmq.Again:
            pass


def produce_own(port: int, size: int, count: int) -> None:
    from lclstreamer.transport.connect import open_push

    push = open_push(f"tcp://{HOST}:{port}")
    message = bytes(size)
    for _ in range(count):
        push.send(message)
    report = push.close()
    if report.problems:
        raise SystemExit(str(report))


def consume_own(port: int, size: int, clock: Clock) -> None:
    from lclstreamer.transport.connect import open_pull

    with open_pull(f"tcp://{HOST}:{port}") as pull:
        print("ready", flush=True)
        for message in pull:
            if len(message) != size:
                raise SystemExit(f"a message of {len(message)} bytes came")
            clock.tick()


def relay_zmq_proxy(size: int) -> None:
    import zmq

    context = zmq.Context(4)
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.set(zmq.RCVHWM, high_water(size))
    push.set(zmq.SNDHWM, high_water(size))
    print(
        json.dumps([end.bind_to_random_port(f"tcp://{HOST}") for end in (pull, push)]), flush=True
    )
    zmq.proxy(pull, push)


def relay_pynng(size: int) -> None:
    import pynng

    depth = min(128, high_water(size))
    pull = pynng.Pull0(recv_buffer_size=depth, recv_max_size=0)
    push = pynng.Push0(send_buffer_size=depth)
    for end in (pull, push):
        end.listen(f"tcp://{HOST}:0")
    ports = [str(end.listeners[0].local_address).rpartition(":")[2] for end in (pull, push)]
    print(json.dumps([int(port) for port in ports]), flush=True)
    while True:
        push.send_msg(pull.recv_msg())


def words(*more: object) -> list[str]:
    return [sys.executable, __file__, *(str(word) for word in more)]


def processor_seconds_now(process: subprocess.Popen[str]) -> float:
    """The processor time that a running process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """Wait for a process and say how much processor time it took."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def relay_running(relay: str, size: int, producers: int, used: list[float]) -> Iterator[list[int]]:
    """The ports of a relay: for producers, for consumers; ``used`` gets its processor time."""
    if relay in {"ours", "ours+ack"}:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(sys.executable).with_name("nng-stream")
            process = subprocess.Popen(
                [program, "run", "--directory", folder, "--limit", LIMIT, "--json",
                 "--expected-producers", str(producers), "--inlet", f"tcp://{HOST}:0",
                 "--outlet", f"tcp://{HOST}:0"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            places = Path(folder) / "endpoints.json"
            deadline = time.monotonic() + TIMEOUT_SECONDS
            while not places.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            urls = json.loads(places.read_text())
            begun = processor_seconds_now(process)
            yield [int(urls[key]["nng"].rpartition(":")[2]) for key in ("inlets", "outlets")]
            ledger = json.loads(process.stdout.read())
            used.append(processor_seconds(process) - begun)
            if ledger["state"] != "completed":
                raise SystemExit(f"the ledger is {ledger['state']}: {ledger['problems']}")
        return
    process = subprocess.Popen(
        words("relay", relay, "--size", size), stdout=subprocess.PIPE, text=True
    )
    ports = json.loads(process.stdout.readline())
    begun = processor_seconds_now(process)
    yield ports
    process.kill()
    used.append(processor_seconds(process) - begun)


def measure(
    relay: str, size: int, count: int, producers: int, consumers: int
) -> tuple[float, float]:
    """Messages per second, all peers together, and the relay's processor seconds per GiB."""
    used: list[float] = []
    kind = KIND_OF_RELAY[relay]
    share = count // producers
    with relay_running(relay, size, producers, used) as ports:
        takers = [
            subprocess.Popen(
                words("consume", kind, "--port", ports[1], "--size", size),
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(consumers)
        ]
        for taker in takers:
            taker.stdout.readline()
        time.sleep(0.4)  # a relay knows a plain consumer a moment after it connected
        makers = [
            subprocess.Popen(
                words("produce", kind, "--port", ports[0], "--size", size, "--count", share)
            )
            for _ in range(producers)
        ]
        if any(maker.wait(TIMEOUT_SECONDS) for maker in makers):
            raise SystemExit(f"{relay}: a producer failed")
        clocks = [json.loads(taker.communicate(timeout=TIMEOUT_SECONDS)[0]) for taker in takers]
    total = sum(clock["count"] for clock in clocks)
    if total != share * producers:
        raise SystemExit(f"{relay}, {size} bytes: {total} of {share * producers} messages came")
    busy = [clock for clock in clocks if clock["count"]]
    seconds = max(clock["last"] for clock in busy) - min(clock["first"] for clock in busy)
    return total / seconds, used[0] / (total * size / 2**30)


def compare(options: argparse.Namespace) -> dict[str, dict[str, tuple[float, float]]]:
    best: dict[str, dict[str, tuple[float, float]]] = {}
    for text in options.sizes.split(","):
        size = parse_bytes(text)
        count = max(16, min(options.messages, parse_bytes(options.bytes) // size))
        rates = best.setdefault(text, {})
        for _ in range(options.rounds):
            for relay in options.relays.split(","):
                now = measure(relay, size, count, options.producers, options.consumers)
                before = rates.get(relay, now)
                rates[relay] = max(before[0], now[0]), min(before[1], now[1])
        if not options.json:
            show(text, size, rates)
    return best


def show(text: str, size: int, rates: dict[str, tuple[float, float]]) -> None:
    for relay, (rate, cost) in rates.items():
        ratio = rates["ours"][0] / rate if "ours" in rates else float("nan")
        print(
            f"{text:>7} {relay:>10} {format_bytes(rate * size):>11}/s {rate:>9.0f} messages/s"
            f" {cost:6.2f} cpu s/GiB   ours is {ratio:.2f} times this",
            flush=True,
        )


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        f"{os.cpu_count()} cores, {format_bytes(memory)}, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, Linux {platform.release()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="4KiB,64KiB,1MiB,16MiB")
    parser.add_argument("--relays", default=",".join(KIND_OF_RELAY))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--producers", type=int, default=2)
    parser.add_argument("--consumers", type=int, default=2)
    parser.add_argument("--bytes", default="2GiB", help="per measurement at most")
    parser.add_argument("--messages", type=int, default=100_000, help="per measurement at most")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.json:
        print(f"{machine()}; {options.producers} producers, {options.consumers} consumers")
    best = compare(options)
    if options.json:
        print(json.dumps({"machine": machine(), "rates_and_costs": best}))


def part(argv: list[str]) -> None:
    """One of the processes that `measure` starts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["relay", "produce", "consume"])
    parser.add_argument("kind")
    parser.add_argument("--port", type=int)
    parser.add_argument("--size", type=int)
    parser.add_argument("--count", type=int)
    options = parser.parse_args(argv)
    function = globals()[f"{options.role}_{options.kind}"]
    if options.role == "relay":
        function(options.size)
    elif options.role == "produce":
        function(options.port, options.size, options.count)
    else:
        clock = Clock()
        function(options.port, options.size, clock)
        print(json.dumps(vars(clock)))


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in {"relay", "produce", "consume"}:
        part(sys.argv[1:])
    else:
        main()
