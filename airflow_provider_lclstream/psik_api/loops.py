"""The two loops beside a service's routes: they make sure of its jobs and deliver its callbacks."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time

from airflow_provider_lclstream.psik.callbacks.courier import (
    Courier,
    CourierSettings,
    Pauses,
    reason_of,
)
from airflow_provider_lclstream.psik.callbacks.start import courier_lock
from airflow_provider_lclstream.psik.reconciler import Reconciliation
from airflow_provider_lclstream.psik.state_log import try_lock
from airflow_provider_lclstream.psik_api.metrics import LastRound
from airflow_provider_lclstream.psik_api.service import JobService
from lclstreamer.core.errors import LCLStreamError

logger = logging.getLogger(__name__)
RETRY_SECONDS = 1.0
_NEVER_ASKS = CourierSettings(reconcile_seconds=math.inf)
"""The reconciler asks the backends about every job; the courier need not do so again."""


class Loops:
    """Both loops, each in a thread of its own, until they are stopped."""

    def __init__(self, service: JobService) -> None:
        self._service, self._stop = service, threading.Event()
        self.last_round = LastRound()
        self._problems: dict[str, str] = {}
        self._threads = {
            "reconciler": threading.Thread(target=self._reconcile, daemon=True),
            "courier": threading.Thread(target=self._deliver, daemon=True),
        }

    def start(self) -> None:
        """Start them."""
        for thread in self._threads.values():
            thread.start()

    async def stop(self) -> None:
        """End them, and wait for it, 30 s for each."""
        self._stop.set()
        for thread in self._threads.values():
            await asyncio.to_thread(thread.join, 30)

    def problems(self) -> dict[str, str]:
        """Why a loop does not get on at present, by its name."""
        return dict(self._problems)

    def stopped(self) -> list[str]:
        """The loops that should run and do not."""
        return [name for name, thread in self._threads.items() if not thread.is_alive()]

    def _reconcile(self) -> None:
        while not self._stop.is_set():
            began, found = time.monotonic(), None
            try:
                found = self._round()
                self._problems.pop("reconciler", None)
            except Exception as error:  # the edge of a thread that must go on
                self._problems["reconciler"] = reason_of(error)
                _tell("reconciling", error)
            self.last_round.note(began, found)
            spent = time.monotonic() - began
            self._stop.wait(max(0.1, self._service.config.reconcile_seconds - spent))

    def _round(self) -> Reconciliation:
        found = self._service.reconcile()
        for problem in found.problems:
            logger.warning("reconciling", extra={"problem": problem})
        self._service.index.sweep()
        return found

    def _deliver(self) -> None:
        counts, pauses = self._service.counts, Pauses()
        while not self._stop.is_set():
            try:
                with try_lock(courier_lock(self._service.store.prefix)) as is_ours:
                    if is_ours:
                        courier = Courier(
                            self._service.store, _NEVER_ASKS, stop=self._stop, counts=counts
                        )
                        self._problems.pop("courier", None)
                        asyncio.run(courier.run(until_idle=False))
            except Exception as error:  # the edge of a thread that must go on
                self._problems["courier"] = reason_of(error)
                _tell("delivering callbacks", error)
                self._stop.wait(pauses.next())
            self._stop.wait(RETRY_SECONDS)


def _tell(doing: str, error: Exception) -> None:
    is_expected = isinstance(error, (LCLStreamError, OSError))
    trace = None if is_expected else error
    logger.warning(doing, extra={"problem": reason_of(error)}, exc_info=trace)
