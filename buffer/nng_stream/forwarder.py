"""The buffer itself: inlets, a queue, outlets, and the life of the whole."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lclstreamer.transport.run_queue import RunQueue
from lclstreamer.transport.slabs import SlabPool
from nng_stream.inlets import Inlets
from nng_stream.ledger import LEDGER_FILE, Count, Ledger, draw_up
from nng_stream.lifecycle import State, Stimulus, step
from nng_stream.outlets import Outlets
from nng_stream.places import by_protocol, published, write_json
from nng_stream.settings import BufferSettings
from nng_stream.side import Census

logger = logging.getLogger(__name__)

ENDPOINTS_FILE = "endpoints.json"
DRAIN_FILE = "drain"
"""Whoever can write the buffer's folder, but not reach its ports, asks with this file to drain."""
SLAB_BYTES = 8 << 20
"""So large are the pieces that are read and sent at once, at most."""
TICK_SECONDS = 0.02
LOOK_SECONDS = 0.2
"""How often it is found out whether anything has moved."""
GRACE_SECONDS = 2.0
"""How long producers that have not ended may go on once a drain was asked for."""


class Buffer:
    """A buffer between producers and consumers.

    Attributes:
        state: where it is in its life.
        inlets, outlets: its two sides.
        pool: its memory.
        queue: what waits for consumers.
    """

    def __init__(self, settings: BufferSettings) -> None:
        """Listen on every port; nothing flows before `run`.

        Raises:
            UnavailableError: a port is taken.
        """
        self.settings = settings
        self.state = State.WAITING
        self.pool = SlabPool(settings.limit_bytes, slab_bytes=SLAB_BYTES)
        self.queue = RunQueue(self.pool)
        self.inlets = Inlets(settings, self.pool, self.queue)
        self.outlets = Outlets(settings, self.queue, self._summary)
        self._problems: list[str] = []
        self._asked: set[Stimulus] = set()
        self._stop_at: float | None = None
        self._begun = time.monotonic()
        self._moved_at = self._looked_at = self._begun
        self._moved: tuple[int, ...] = ()
        self._draining_since = 0.0

    def _summary(self) -> dict[str, Any]:
        """What consumers are told at the end: the totals, and what is missing in the stream."""
        ledger = self.ledger()
        return {"ledger": ledger.totals, "missing": ledger.problems}

    def publish(self, admin_url: str) -> None:
        """Write ``endpoints.json``: from now on others can find this buffer.

        Raises:
            OutputError: the folder cannot be written.
        """
        name = self.settings.published_host
        document = {
            "version": 1,
            "state": "ready",
            "inlets": by_protocol(published(e, name) for e in self.inlets.endpoints),
            "outlets": by_protocol(published(e, name) for e in self.outlets.endpoints),
            "admin": admin_url,
            "pid": os.getpid(),
        }
        self._drain_file.unlink(missing_ok=True)  # that was meant for another one
        write_json(self.settings.directory / ENDPOINTS_FILE, document)

    @property
    def _drain_file(self) -> Path:
        return self.settings.directory / DRAIN_FILE

    def drain(self) -> None:
        """Take nothing more in, deliver the rest, and end."""
        self._asked.add(Stimulus.DRAIN_ASKED)  # no event or lock: signal handlers come here

    def stop(self) -> None:
        """The same within the stop timeout; a second call ends at once."""
        if self._stop_at is not None:
            self._asked.add(Stimulus.KILLED)
        self._stop_at = time.monotonic() + self.settings.stop_timeout_seconds
        self.drain()

    def run(self) -> Ledger:
        """Serve until the stream has ended and was delivered, and write ``ledger.json``.

        Raises:
            OutputError: the ledger cannot be written.
        """
        self.inlets.start()
        self.outlets.start()
        while self.state is not State.FINISHED:
            for stimulus in self._stimuli():
                before, self.state = self.state, step(self.state, stimulus)
                if self.state is not before:
                    logger.info("%s: %s", stimulus.value, self.state.value)
                    self._enter(stimulus)
            if self.state is State.DRAINING:
                self._drain_further()
            time.sleep(TICK_SECONDS)
        self._end()
        ledger = self.ledger(is_final=True)
        write_json(self.settings.directory / LEDGER_FILE, ledger.to_json())
        return ledger

    def _stimuli(self) -> Iterator[Stimulus]:
        now = time.monotonic()
        settings, census = self.settings, self.inlets.census
        self._look_around(now)
        quiet_seconds = now - self._moved_at
        yield from sorted(self._asked, key=lambda stimulus: stimulus.name)
        if census.seen:
            yield Stimulus.PRODUCER_CAME
        if self.state is State.WAITING and now - self._begun > settings.start_timeout_seconds:
            yield Stimulus.START_EXPIRED
        if self._have_ended(census):
            yield Stimulus.PRODUCERS_ENDED
        if quiet_seconds > settings.idle_timeout_seconds:
            yield Stimulus.IDLE_EXPIRED
        if self.state is not State.DRAINING:
            return
        if self._is_delivered():
            yield Stimulus.DELIVERED
        elif quiet_seconds > settings.drain_timeout_seconds or self._is_out_of_time(now):
            yield Stimulus.DRAIN_EXPIRED

    def _have_ended(self, census: Census) -> bool:
        expected = self.settings.expected_producers
        return expected > 0 and not census.connected and self.inlets.ended_producers >= expected

    def _is_out_of_time(self, now: float) -> bool:
        return self._stop_at is not None and now > self._stop_at

    def _is_delivered(self) -> bool:
        have_come = self.outlets.census.seen >= self.settings.expected_consumers
        return have_come and self.queue.is_delivered and self.outlets.is_done

    def _look_around(self, now: float) -> None:
        """Note whether anything has moved, and whether somebody asks for a drain."""
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        if self._drain_file.exists():
            self._asked.add(Stimulus.DRAIN_ASKED)
        records = (*self.inlets.records(), *self.outlets.records())
        census = (self.inlets.census, self.outlets.census)
        moved = (
            *(count for c in census for count in (c.seen, c.left)),
            *(r.messages + r.acknowledged_messages for r in records),
        )
        if moved != self._moved:
            self._moved, self._moved_at = moved, now

    def _enter(self, stimulus: Stimulus) -> None:
        """What a step that was taken brings with it."""
        settings, census = self.settings, self.inlets.census
        if self.state is State.DRAINING:
            self._draining_since = time.monotonic()
            self._moved_at = self._draining_since
            if stimulus is not Stimulus.PRODUCERS_ENDED:
                self._explain_early_end(stimulus)
            self.inlets.drain()
        elif stimulus is Stimulus.DRAIN_EXPIRED and not self.queue.is_delivered:
            limit = self._stop_at and settings.stop_timeout_seconds
            self._problems.append(
                f"consumers took too long: after {limit or settings.drain_timeout_seconds:g} s "
                f"{self.outlets.census.connected} of them were still connected"
            )
        elif stimulus is Stimulus.KILLED:
            self._problems.append(
                f"it was stopped at once, with {census.connected} producers connected"
            )

    def _explain_early_end(self, stimulus: Stimulus) -> None:
        settings, census = self.settings, self.inlets.census
        if stimulus is Stimulus.START_EXPIRED:
            self._problems.append(f"no producer came within {settings.start_timeout_seconds:g} s")
        elif stimulus is Stimulus.IDLE_EXPIRED:
            self._problems.append(
                f"nothing moved for {settings.idle_timeout_seconds:g} s: {census.connected} "
                f"producers and {self.outlets.census.connected} consumers were connected"
            )
        ended = self.inlets.ended_producers
        if ended < settings.expected_producers:
            self._problems.append(
                f"{ended} of {settings.expected_producers} expected producers had ended"
            )

    def _drain_further(self) -> None:
        if self.inlets.is_done:
            self.queue.close()
            return
        is_over = time.monotonic() - self._draining_since > GRACE_SECONDS
        if is_over and Stimulus.DRAIN_ASKED in self._asked:
            self.inlets.abort()

    def _end(self) -> None:
        self.inlets.abort()
        self.outlets.abort()
        self.pool.close()
        deadline = time.monotonic() + self.settings.stop_timeout_seconds
        while not (self.inlets.is_done and self.outlets.is_done):
            if time.monotonic() > deadline:
                # E.g. ZeroMQ, which counts as sent what it has taken, still has some of it.
                self._problems.append("it ended while messages were still on their way out or in")
                return
            time.sleep(TICK_SECONDS)

    def ledger(self, *, is_final: bool = False) -> Ledger:
        """The account of what has happened up to now."""
        queue = self.queue
        return draw_up(
            self.inlets.records(),
            self.outlets.records(),
            redelivered=Count(queue.redelivered_messages, queue.redelivered_bytes),
            waiting=Count(*queue.unfinished()),
            problems=self._problems,
            refused_connections={
                "producers": self.inlets.refused,
                "consumers": self.outlets.refused,
            },
            is_final=is_final,
            peak_queued_bytes=self.pool.peak_bytes,
            back_pressure_seconds=self.pool.waited_seconds,
        )
