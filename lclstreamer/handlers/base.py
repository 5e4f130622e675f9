"""What every handler offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lclstreamer.core.events import DeliveryReport, Message


class DataHandler(Protocol):
    """Delivers one rank's messages: `open`, then `handle` each of them in order, then `close`.

    One thread at a time uses a handler. It is told its parameters, its rank and the number of
    ranks when it is made.
    """

    def open(self) -> None:
        """Get ready, and fail now rather than after hours where delivery is impossible.

        Raises:
            LCLStreamError: the target cannot be written or reached.
        """
        ...

    def handle(self, message: Message) -> None:
        """Deliver a message, waiting where the other side is slow.

        Raises:
            LCLStreamError: it cannot be delivered.
        """
        ...

    def close(self, *, missing: Sequence[str] = ()) -> DeliveryReport:
        """Deliver what is still on its way, tell the other side that this was all, and report.

        ``missing`` says why it was not all, one sentence each (the source failed, say): a handler
        with somebody at its other side tells them, so that nobody takes the run for complete.

        Waits no longer than the handler's own timeout and does not raise: what went wrong is in
        the report's problems. May be called without `open`, and twice.
        """
        ...
