"""The pushing end of one connection: sends runs, and hears what the consumer has finished with."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lclstreamer.core.errors import BadInputError
from lclstreamer.transport import sp
from lclstreamer.transport.records import End, PeerRecord
from lclstreamer.transport.run_queue import RunQueue, Seat
from lclstreamer.transport.runs import Run
from lclstreamer.transport.window import FairShare, Window
from lclstreamer.transport.wire import TICK_SECONDS, Wire, receive_exactly, send_all

logger = logging.getLogger(__name__)

GREETING_SECONDS = 10.0
FINISH_SECONDS = 10.0
"""How long a consumer may take to leave once it has been told the end."""
_REVERSE_BYTES = 1 << 16
_TEXTS, _TEXT_LETTERS = 16, 500  # what is told of problems at the end; the ledger has them all


@dataclass(slots=True, frozen=True)
class PushOptions:
    """What all connections of a pushing socket share.

    Attributes:
        name: what it calls itself to its peers.
        window: makes the window of a consumer that acknowledges.
        hello: more facts for the peer, e.g. the rank.
        summary: facts for the end of the stream, asked for when it has come.
        consumer_timeout_seconds: who could acknowledge what it holds, but acknowledges nothing
            for so long, is taken for hung: its messages go to another. None: it may take its time.
    """

    name: str
    window: Callable[[], Window]
    hello: dict[str, Any] = field(default_factory=dict)
    summary: Callable[[], dict[str, Any]] = dict
    consumer_timeout_seconds: float | None = None


class Outlet:
    """One consumer's connection. `run` is its thread.

    Attributes:
        record: what is remembered of the consumer.
        seat: its place at the queue, once it has greeted.
        max_message_bytes: the longest message it takes, where it said so.
    """

    def __init__(self, wire: Wire, queue: RunQueue, options: PushOptions) -> None:
        self.record = PeerRecord(wire.peer)
        self.seat = Seat(FairShare())
        self.max_message_bytes: int | None = None
        self._wire = wire
        self._queue = queue
        self._options = options
        self._replies = sp.ReverseReader(f"consumer {wire.peer}")
        self._has_left = threading.Event()
        self._moved_at = time.monotonic()  # when it acknowledged last, or was given its oldest run
        self._is_within_run = False
        self._is_aborted = False
        self._is_finishing = False
        self._end: End = "disconnected"

    def run(self, on_start: Callable[[Outlet], None], on_end: Callable[[Outlet], None]) -> None:
        """Serve the consumer; ``on_start`` is called once it has proved to be one."""
        if not self._greet():
            self._wire.close()
            return
        self._queue.join(self.seat)
        on_start(self)
        reader = threading.Thread(target=self._read, name="replies", daemon=True)
        reader.start()
        try:
            self._pump()
        except OSError as error:
            self._lost(error.strerror or str(error))
        finally:
            self._wire.wake()
            reader.join(FINISH_SECONDS)
            self._leave()
            on_end(self)
            self._wire.close()

    def abort(self) -> None:
        """Stop at once."""
        self._is_aborted = True
        self._wire.wake()

    def _greet(self) -> bool:
        try:
            send_all(self._wire, sp.greeting(sp.PUSH), GREETING_SECONDS)
            answer = receive_exactly(self._wire, sp.GREETING_BYTES, GREETING_SECONDS)
            if answer is None:
                return False
            sp.check_greeting(answer, expected=sp.PULL, peer=self._wire.peer)
            self._await_hello()
        except BadInputError as error:
            logger.warning("refused a peer: %s", error)
            return False
        except OSError:
            return False
        return True

    def _await_hello(self) -> None:
        # A puller of ours sends its hello in one piece with its greeting, so it is here by now, or
        # at least begins: what lies between may have cut it. From then on it is too late for one:
        # messages are on their way that such a puller would not know it may confirm.
        view = memoryview(bytearray(_REVERSE_BYTES))
        deadline = time.monotonic() + GREETING_SECONDS
        while not self.record.confirms and time.monotonic() < deadline:
            count = self._wire.receive_into(view)
            if count == 0 or (count < 0 and not self._replies.is_within_frame):
                break
            for document in self._replies.feed(view[: max(0, count)]):
                self._take_hello(document)
        if self.record.confirms:
            hello = {"lclstream": 1, "role": "push", "name": self._options.name}
            send_all(
                self._wire, sp.encode_control({**hello, **self._options.hello}), GREETING_SECONDS
            )

    def _pump(self) -> None:
        while not self._has_left.is_set() and not self._is_aborted:
            run = self._queue.take(self.seat, TICK_SECONDS)
            if run is not None:
                self._note_movement()
            if self._is_stalled():
                self._dismiss()
            elif run is not None:
                self._send(run)
            elif self._queue.is_delivered:
                self._finish()
                return

    def _send(self, run: Run) -> None:
        buffers, total = run.buffers(), run.size_bytes
        messages, payload_bytes = run.messages, run.payload_bytes
        sent = 0
        try:
            sent = self._wire.send(buffers)
            while sent < total:
                if self._has_left.is_set() or self._is_aborted or self._is_stalled():
                    break
                if more := self._wire.send(_behind(buffers, sent)):
                    self._note_movement()
                sent += more
        finally:
            self._is_within_run = sent < total
            if sent < total:
                messages, payload_bytes = run.part_within(sent)
                if not self.seat.window.retains:
                    run.acknowledged = messages  # gone; the rest returns to the queue
            self.record.count(messages, payload_bytes)
        if sent == total and not self.seat.window.retains:
            self._queue.end(self.seat, run)

    def _note_movement(self) -> None:
        """To be sent its oldest run is movement, too; to be sent more is no sign of life."""
        if len(self.seat.held) == 1:
            self._moved_at = time.monotonic()

    def _is_stalled(self) -> bool:
        limit = self._options.consumer_timeout_seconds
        if limit is None or not self.seat.window.retains or not self.seat.held:
            return False
        return time.monotonic() - self._moved_at > limit

    def _dismiss(self) -> None:
        """Give up a consumer that hangs; should it wake up, it hears why."""
        self.record.close("stalled")
        self._is_aborted = True
        why = f"it acknowledged nothing for {self._options.consumer_timeout_seconds:g} s"
        logger.warning("dismissed consumer %s: %s", self.record.name, why)
        if not self._is_within_run:
            frame = sp.encode_control({"dismissed": f"{why}; its messages went to others"})
            send_all(self._wire, frame, TICK_SECONDS)

    def _read(self) -> None:
        view = memoryview(bytearray(_REVERSE_BYTES))
        try:
            while not self._is_aborted:
                count = self._wire.receive_into(view)
                if count == 0:
                    break
                for document in self._replies.feed(view[:count]) if count > 0 else ():
                    self._take(document)
        except OSError as error:
            self._lost(error.strerror or str(error))
        except BadInputError as error:
            self._problem(error.problem)
        finally:
            self._has_left.set()
            self._queue.ring(self.seat)

    def _take_hello(self, document: dict[str, Any]) -> None:
        if document.get("lclstream"):
            self.record.confirms = True
            self.record.name = document.get("name") or self.record.name
            self.max_message_bytes = document.get("max_message_bytes")
            self.seat.window = self._options.window()

    def _take(self, document: dict[str, Any]) -> None:
        if "ack" in document:
            self._moved_at = time.monotonic()
            if not self._queue.acknowledge(self.seat, document["ack"]):
                self._problem(f"acknowledged {document['ack']} messages, which it was not sent")
                self._is_aborted = True
            self.record.acknowledged_messages = self.seat.acknowledged
            self.record.acknowledged_bytes = self.seat.acknowledged_bytes
        elif "refused" in document:
            self._problem(f"refused the stream: {document['refused']}")
            self.record.close("refused")

    def _finish(self) -> None:
        """Tell the end, and wait until the consumer has closed its side."""
        self._is_finishing = True
        if self.record.confirms:
            ending = {
                "end_of_stream": 1,
                "name": self._options.name,
                "messages": self.record.messages,
                "bytes": self.record.bytes,
            }
            summary = self._options.summary()
            if missing := summary.get("missing"):
                summary = {**summary, "missing": _shortened(missing)}
            frame = sp.encode_control({**ending, **summary})
            send_all(self._wire, frame, FINISH_SECONDS)
        self._wire.finish()
        unsent, deadline = self._wire.unsent_bytes(), time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline and not self._is_aborted:
            if self._has_left.wait(TICK_SECONDS):
                break
            if unsent != (unsent := self._wire.unsent_bytes()):
                deadline = time.monotonic() + FINISH_SECONDS  # slow, but it goes on
        self._end = "end_of_stream" if self.record.confirms else "closed"

    def _lost(self, reason: str) -> None:
        if not self._is_finishing or not self.record.confirms:
            self._note_loss(f"the connection was lost ({reason})")

    def _note_loss(self, how: str) -> None:
        """Who cannot confirm takes with it what was on the way; who can, returns it."""
        if not self.record.confirms and not self.record.problems:
            self._problem(f"{how}; the last of the {self.record.messages} messages may be lost")

    def _leave(self) -> None:
        if unsent := self._wire.unsent_bytes():
            self._note_loss(f"left with {unsent} bytes under way")
        self.record.returned_messages += self._queue.leave(self.seat)
        if self.record.confirms:
            self.record.acknowledged_bytes = self.seat.acknowledged_bytes
        self.record.close(self._end)  # the last word: others judge by what stands there then

    def _problem(self, what: str) -> None:
        self.record.problems.append(f"consumer {self.record.name}: {what}")


def _shortened(texts: Sequence[str]) -> list[str]:
    """So much of the texts that they fit into a control frame, whatever their letters."""
    kept = [
        text if len(text) <= _TEXT_LETTERS else f"{text[:_TEXT_LETTERS]}…"
        for text in texts[:_TEXTS]
    ]
    return kept + [f"and {len(texts) - _TEXTS} more"] * (len(texts) > _TEXTS)


def _behind(buffers: list[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """What is left of the buffers behind the first ``sent`` bytes."""
    left: list[bytes | memoryview] = []
    for buffer in buffers:
        if sent < len(buffer):
            left.append(memoryview(buffer)[sent:])
        sent = max(0, sent - len(buffer))
    return left
