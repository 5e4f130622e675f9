"""The pulling end of one connection: reads frames into runs and acknowledges them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lclstreamer.core.errors import BadInputError
from lclstreamer.transport import sp
from lclstreamer.transport.assembler import Assembler
from lclstreamer.transport.records import End, PeerRecord
from lclstreamer.transport.run_queue import RunQueue
from lclstreamer.transport.runs import Run
from lclstreamer.transport.slabs import SlabPool
from lclstreamer.transport.wire import Wire, receive_exactly, send_all

logger = logging.getLogger(__name__)

GREETING_SECONDS = 10.0
"""How long a new peer may take to greet."""
ACKNOWLEDGE_SECONDS = 0.02
"""Acknowledgements are at most this late while messages flow."""
ACKNOWLEDGE_BYTES = 1 << 20
"""Acknowledgements cover at most this much at once."""
_SEND_SECONDS = 10.0
_DISCARD_SECONDS = 3.0
_WASTE_BYTES = 1 << 18
_ROOM_SECONDS = 3600.0  # waiting for memory is back-pressure; a closed pool ends it at once


@dataclass(slots=True, frozen=True)
class PullOptions:
    """What all connections of a pulling socket share.

    Attributes:
        name: what it calls itself to its peers.
        max_message_bytes: longer messages are refused.
        on_arrival: whether messages are acknowledged when they are queued (a buffer does that);
            otherwise whoever takes them calls `Inlet.acknowledge`.
    """

    name: str
    max_message_bytes: int
    on_arrival: bool = False


class Inlet:
    """One producer's connection. `run` is its thread.

    Attributes:
        record: what is remembered of the producer.
        end_document: what it said at the end of its stream, if it did.
        is_open: whether its connection is.
    """

    def __init__(self, wire: Wire, pool: SlabPool, queue: RunQueue, options: PullOptions) -> None:
        self.record = PeerRecord(wire.peer)
        self._wire = wire
        self._pool = pool
        self._queue = queue
        self._options = options
        self._assembler = Assembler(
            pool, options.max_message_bytes, peer=f"producer {wire.peer}", origin=self
        )
        self._sending = threading.Lock()
        self._done_messages = 0
        self._done_bytes = 0
        self._told_messages = 0
        self._told_bytes = 0
        self._told_at = 0.0
        self._owes = False  # whether this thread has acknowledgements to send before it waits
        self._is_draining = False
        self._is_aborted = False
        self._is_leaving = False
        self.end_document: dict[str, Any] | None = None
        self.is_open = True

    def run(self, on_start: Callable[[Inlet], None], on_end: Callable[[Inlet], None]) -> None:
        """Serve the producer until it ends; ``on_start`` is called once it has proved to be one."""
        if not self._greet():
            self._wire.close()
            return
        on_start(self)
        self._pool.add_readers(1)
        try:
            self._pump()
        except BadInputError as error:
            self._refuse(error)
        except OSError as error:
            self._broken_off(f"the connection was lost ({error.strerror or error})", always=True)
        finally:
            self.record.lost_bytes = self._assembler.drop()
            self._pool.add_readers(-1)
            self.is_open = False
            on_end(self)
            self._wire.close()

    def drain(self) -> None:
        """Take what has been sent up to now, and no more."""
        self._is_draining = True

    def abort(self) -> None:
        """Stop at once."""
        self._is_draining = self._is_aborted = True
        self._wire.wake()

    def leave(self) -> None:
        """Take nothing more: tell what is done with, and let the producer close the connection."""
        self.flush()
        self._is_leaving = True
        self._wire.finish()

    def acknowledge(self, messages: int, payload_bytes: int) -> None:
        """So many more messages are done with; the producer hears it soon (see `flush`)."""
        self._done_messages += messages
        self._done_bytes += payload_bytes
        if self._done_bytes - self._told_bytes >= ACKNOWLEDGE_BYTES or (
            time.monotonic() - self._told_at >= ACKNOWLEDGE_SECONDS
        ):
            self.flush()

    def flush(self) -> None:
        """Tell the producer now what is done with, if it does not know."""
        if not self.record.confirms or self._told_messages == self._done_messages:
            return
        self._told_messages, self._told_bytes = self._done_messages, self._done_bytes
        self._told_at = time.monotonic()
        self._send(sp.encode_acknowledgement(self._told_messages))

    def _send(self, frame: bytes) -> None:
        with self._sending:
            try:
                send_all(self._wire, frame, _SEND_SECONDS)
            except OSError:
                return  # the reading side notices that the producer left, and says so

    def _greet(self) -> bool:
        hello: dict[str, Any] = {
            "lclstream": 1,
            "role": "pull",
            "name": self._options.name,
            "max_message_bytes": self._options.max_message_bytes,
        }
        # In one piece, so that a producer of ours finds the hello right behind the greeting.
        try:
            send_all(self._wire, sp.greeting(sp.PULL) + sp.encode_reverse(hello), GREETING_SECONDS)
            answer = receive_exactly(self._wire, sp.GREETING_BYTES, GREETING_SECONDS)
            if answer is None:
                return False
            sp.check_greeting(answer, expected=sp.PUSH, peer=self._wire.peer)
        except BadInputError as error:
            logger.warning("refused a peer: %s", error)
            return False
        except OSError:
            return False
        return True

    def _pump(self) -> None:
        wire, assembler = self._wire, self._assembler
        while True:
            view = assembler.room(_ROOM_SECONDS)
            if view is None or self._is_aborted or self._is_leaving:
                is_amid = self.record.messages > 0  # nobody knows what else was on its way
                self._broken_off("was cut off from this side", end="drained", always=is_amid)
                self._discard()
                return
            owes = self._owes
            count = wire.receive_into(view, fill=assembler.fill, wait=not owes)
            del view  # a slab is used again only when nobody looks at it
            if count > 0:
                for item in assembler.advance(count):
                    self._take(item)
                    del item  # so that its slab is not held while waiting for more
            elif count == 0 and not self._is_aborted:
                self._at_end()
                return
            elif owes:
                self.flush()
                self._owes = False
            elif self._is_draining and not self._is_aborted:
                self._broken_off("had not ended when the buffer was drained", end="drained")
                return
            else:
                assembler.relax()

    def _take(self, item: Run | bytes | BadInputError) -> None:
        if isinstance(item, Run):
            payload_bytes = item.payload_bytes
            self.record.count(item.messages, payload_bytes)
            messages = item.messages
            self._queue.put(item)
            if self._options.on_arrival and self.record.confirms:
                self.acknowledge(messages, payload_bytes)
                self._owes = self._told_messages != self._done_messages
        elif isinstance(item, bytes):
            self._take_control(sp.decode_document(item, peer=self.record.name))
        else:
            raise item

    def _take_control(self, document: dict[str, Any]) -> None:
        if document.get("lclstream"):
            self.record.confirms = True
            self.record.name = document.get("name") or self.record.name
        if "dismissed" in document:
            self._problem(f"dismissed this consumer: {document['dismissed']}")
        if "end_of_stream" in document:
            self.end_document = document

    def _at_end(self) -> None:
        if self.end_document is None:
            self._broken_off("disconnected without ending its stream")
            return
        announced = self.end_document.get("messages")
        if announced != self.record.messages:
            self._problem(f"sent {announced} messages, but {self.record.messages} came")
        for text in self.end_document.get("missing", ()):
            if "ledger" in self.end_document:  # a buffer, which says itself whose fault it is
                self.record.problems.append(f"{self.record.name}: {text}")
            else:
                self._problem(f"ended, but not all could be sent: {text}")
        self.record.close("end_of_stream")  # the last word: others judge by what stands there then

    def _broken_off(self, how: str, *, end: End = "disconnected", always: bool = False) -> None:
        pending_bytes = self._assembler.pending_bytes
        if pending_bytes:
            how += f", within a message of which {pending_bytes} bytes had come"
        # A plain nng producer cannot say that it has ended: to disconnect is all it can do.
        if always or pending_bytes or self.record.confirms:
            self._problem(how)
        self.record.close(end)

    def _refuse(self, error: BadInputError) -> None:
        self._send(sp.encode_reverse({"refused": error.problem, "mend": error.mend}))
        self._problem(f"was refused: {error.problem}")
        self.record.close("refused")
        self._wire.finish()
        self._discard()

    def _discard(self) -> None:
        """Read on in vain for a while: to close with unread data would destroy what was said."""
        deadline = time.monotonic() + _DISCARD_SECONDS
        waste = memoryview(bytearray(_WASTE_BYTES))
        while time.monotonic() < deadline and not self._is_aborted:
            if self._wire.receive_into(waste) == 0:
                return

    def _problem(self, what: str) -> None:
        self.record.problems.append(
            f"producer {self.record.name}: {what} (after {self.record.messages} messages)"
        )
