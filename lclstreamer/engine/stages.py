"""The engine's threads: one that serializes, and one for each handler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lclstreamer.core.errors import InternalError, LCLStreamError
from lclstreamer.core.events import Batch, DeliveryReport, Message
from lclstreamer.engine.byte_queue import ByteQueue

if TYPE_CHECKING:
    from lclstreamer.handlers.base import DataHandler
    from lclstreamer.serializers.base import DataSerializer

logger = logging.getLogger(__name__)

QUEUE_LIMIT_BYTES = 64 * 2**20
"""How much may wait in front of the serializer, and in front of each handler."""


def attempt(step: Callable[[], None]) -> LCLStreamError | None:
    """Take a step and return what went wrong, as an error of ours; None if nothing did."""
    try:
        step()
    except LCLStreamError as error:
        return error
    except Exception as error:  # the edge of a thread or rank, which has a report to write
        logger.debug("unexpected error", exc_info=True)
        return InternalError(
            f"{type(error).__name__}: {error}",
            mend="report it as a bug; with --debug the log shows where it happened",
        )
    return None


class Stage(threading.Thread):
    """A thread whose error is kept for the one who waits for it.

    Attributes:
        error: what ended it early, or None.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.error: LCLStreamError | None = None

    def run(self) -> None:
        """Do the work, then the closing work, and keep the first error."""
        for step in (self.work, self.end):
            error = attempt(step)
            self.error = self.error or error

    def work(self) -> None:
        """What the thread does."""

    def end(self) -> None:
        """What it does afterwards, even where the work failed."""

    def wait(self) -> None:
        """Wait for its end; what it does is bounded by its own timeouts."""
        while self.is_alive():
            self.join(1.0)


class DeliveryStage(Stage):
    """Gives messages to one handler.

    Attributes:
        queue: the messages.
        missing: why these were not all, one sentence each; told at the end.
        report: what the handler said at its end; None before.
    """

    def __init__(self, index: int, kind: str, handler: DataHandler) -> None:
        super().__init__(f"data_handlers.{index} ({kind})")
        self.queue: ByteQueue[Message] = ByteQueue(QUEUE_LIMIT_BYTES)
        self.missing: Sequence[str] = ()
        self.report: DeliveryReport | None = None
        self._handler = handler
        self._is_open = threading.Event()

    def wait_until_open(self) -> None:
        """Wait for the handler to be ready, as long as its own timeout lets it try.

        Raises:
            LCLStreamError: it cannot deliver.
        """
        while not self._is_open.wait(0.2) and self.is_alive():
            pass
        if self.error is not None:
            raise self.error

    def work(self) -> None:
        """Open the handler, then deliver until there are no more messages."""
        self._handler.open()
        self._is_open.set()
        while (message := self.queue.get()) is not None:
            self._handler.handle(message)

    def end(self) -> None:
        """Close the handler, which tells the end and confirms what it has delivered."""
        self.queue.abandon()
        self.report = self._handler.close(missing=self.missing)

    def call_off(self, reason: str) -> None:
        """There will be no messages: let the handler tell why."""
        self.missing = (reason,)
        self.queue.abandon()


class SerializerStage(Stage):
    """Makes messages of batches and gives each to every handler.

    Attributes:
        queue: the batches.
        missing: why the batches were not the whole run, one sentence each.
        messages: messages made.
        bytes: their payload.
        events: the events in them.
    """

    def __init__(self, serializer: DataSerializer, deliveries: Sequence[DeliveryStage]) -> None:
        super().__init__("data_serializer")
        self.queue: ByteQueue[Batch] = ByteQueue(QUEUE_LIMIT_BYTES)
        self.missing: list[str] = []
        self.messages = self.bytes = self.events = 0
        self._serializer, self._deliveries = serializer, deliveries

    def work(self) -> None:
        """Serialize until there are no more batches, or nobody to take their messages."""
        while (batch := self.queue.get()) is not None:
            message = self._serializer.serialize(batch)
            self.messages += 1
            self.bytes += message.size_bytes
            self.events += message.events
            taken = [stage.queue.put(message, message.size_bytes) for stage in self._deliveries]
            if not any(taken):
                return

    def end(self) -> None:
        """Tell both sides."""
        self.queue.abandon()
        if self.error is not None:
            self.missing.append(self.error.problem)
        for stage in self._deliveries:
            stage.missing = tuple(self.missing)
            stage.queue.finish()


def size_of(batch: Batch) -> int:
    """The bytes of a batch's arrays."""
    arrays: list[Any] = [*batch.data.values(), batch.event_ids]
    return sum(array.nbytes for array in arrays)
