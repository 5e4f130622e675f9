"""Events through the streamer, beside upstream's lclstreamer, with the same configuration files.

    .venv/bin/python benchmarks/streamer.py --upstream PROGRAM [--rounds 3] [--json]

PROGRAM is the `lclstreamer` of an environment in which lclstream/lclstreamer is installed. One
rank makes events of a constant array, packs them into HDF5 and pushes them to a bare ZeroMQ
socket that only counts: what is measured is the engine, the serializer and the handler. The
programs take turns, the best round counts. The rate is that between the first message and the
last; beside it stand the processor time of the whole process per GiB, its start included, and
how many messages were sent in vain. Without ``--upstream`` ours is measured alone.

``ours+ack`` sends the same over this package's own sockets, every message acknowledged.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
import zmq

from lclstreamer.core.errors import UnavailableError
from lclstreamer.transport.connect import open_pull

BIN = Path(sys.executable).parent
QUIET_SECONDS = 1.0
TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Load:
    """What is streamed.

    Attributes:
        shape, dtype: of the array in each event.
        batch: events in a message.
        messages: how many messages.
        compression: of the HDF5 serializer.
    """

    shape: str
    dtype: str
    batch: int
    messages: int
    compression: str | None = None


LOADS = {
    "200 x 20 f4, batches of 10": Load("200,20", "float32", 10, 4000),
    "1 Mpx u2": Load("2,512,1024", "uint16", 1, 600),
    "1 Mpx u2, bitshuffle + lz4": Load("2,512,1024", "uint16", 1, 600, "bitshuffle_with_lz4"),
    "4 Mpx f4": Load("8,512,1024", "float32", 1, 150),
}


@dataclass
class Count:
    """What a consumer saw."""

    messages: int = 0
    payload_bytes: int = 0
    first: float = 0.0
    last: float = 0.0

    def add(self, size: int) -> None:
        """Note a message."""
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.messages += 1
        self.payload_bytes += size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--upstream", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    programs = {"ours": BIN / "lclstreamer"}
    if words.upstream:
        programs["upstream"] = words.upstream.absolute()
    programs["ours+ack"] = BIN / "lclstreamer"
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", file=sys.stderr)
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="lclstream-bench-") as folder:
        for title, load in LOADS.items():
            results[title] = compare(Path(folder), load, programs, words.rounds)
            if not words.json:
                show(title, results[title])
    if words.json:
        print(json.dumps(results, indent=1))


def show(title: str, figures: dict[str, dict[str, float]]) -> None:
    """One line for each program."""
    for name, one in figures.items():
        print(
            f"{title:30}{name:10}{one['events_per_second']:>9.0f} events/s"
            f"{one['mb_per_second']:>8.0f} MB/s{one['cpu_seconds_per_gib']:>8.2f} s/GiB"
            f"{one['lost']:>6.0f} lost"
        )
        title = ""


def compare(
    folder: Path, load: Load, programs: dict[str, Path], rounds: int
) -> dict[str, dict[str, float]]:
    """Each program's best round."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name, program in programs.items():
            found = measure(folder, load, program, acknowledged=name == "ours+ack")
            if name not in best or found["mb_per_second"] > best[name]["mb_per_second"]:
                best[name] = found | {"lost": max(found["lost"], best.get(name, found)["lost"])}
    return best


def measure(folder: Path, load: Load, program: Path, *, acknowledged: bool) -> dict[str, float]:
    """Run a streamer against a consumer in this process."""
    count, ended = Count(), threading.Event()
    if acknowledged:
        pull = open_pull("tcp://127.0.0.1:0", listen=True)
        url = f"nng+{pull.endpoint}"

        def consume() -> None:
            with pull:
                while (payload := pull.receive(TIMEOUT_SECONDS)) is not None:
                    count.add(len(payload))
    else:
        socket = zmq.Context.instance().socket(zmq.PULL)
        url = f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"

        def consume() -> None:
            with socket:
                while socket.poll(int(QUIET_SECONDS * 1000)) or not ended.is_set():
                    if socket.poll(0):
                        count.add(len(socket.recv(copy=False).buffer))

    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(configuration(load, url)))
    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    process = subprocess.Popen([program, "-c", config], stdout=subprocess.DEVNULL, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    ended.set()
    consumer.join(TIMEOUT_SECONDS)
    if status or not count.messages:
        raise UnavailableError(f"{program} failed ({status})", mend=f"try it with {config}")
    seconds = max(count.last - count.first, 1e-9)
    sent = (count.messages - 1) * count.payload_bytes / count.messages
    return {
        "events_per_second": (count.messages - 1) * load.batch / seconds,
        "mb_per_second": sent / seconds / 1e6,
        "cpu_seconds_per_gib": (usage.ru_utime + usage.ru_stime) / (count.payload_bytes / 2**30),
        "lost": load.messages - count.messages,
    }


def configuration(load: Load, url: str) -> dict[str, object]:
    """In the form that both programs take."""
    events = load.messages * load.batch
    array = {
        "type": "GenericRandomNumpyArray",
        "array_shape": load.shape,
        "array_dtype": load.dtype,
        "always_random": False,
    }
    serializer = {
        "type": "HDF5BinarySerializer",
        "compression": load.compression,
        "compression_level": 0,
        "fields": {"image": "/data/image"},
    }
    streaming = {
        "type": "BinaryDataStreamingDataHandler",
        "urls": [url],
        "role": "client",
        "library": "nng" if url.startswith("nng") else "zmq",
        "socket_type": "push",
        "distribute": False,
        "buffer": 0,
    }
    return {
        "source_identifier": "",
        "skip_incomplete_events": False,
        "event_source": {"type": "InternalEventSource", "number_of_events_to_generate": events},
        "data_sources": {"image": array},
        "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": load.batch},
        "data_serializer": serializer,
        "data_handlers": [streaming],
    }


if __name__ == "__main__":
    main()
