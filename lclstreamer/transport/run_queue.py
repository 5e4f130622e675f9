"""The FIFO between inlets and outlets: runs of whole frames, dealt to seats.

A run is queued, taken by one seat (a consumer), and ends when it was sent to a consumer that
cannot confirm, or was acknowledged by one that can. What a dead consumer has not acknowledged
returns to the front of the queue, for another one.

The queue itself has no bound: the runs hold slabs of a `SlabPool`, which has.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from lclstreamer.transport.runs import Run
from lclstreamer.transport.slabs import SlabPool
from lclstreamer.transport.window import Window


class Seat:
    """A consumer's place at the queue.

    Attributes:
        window: what it may hold.
        held: the runs that it has taken and that have not ended, oldest first.
        held_bytes: their length on the wire.
        acknowledged, acknowledged_bytes: messages that it has acknowledged so far, and their
            payload (of whole runs, until it leaves).
        weight: how many peers stand behind it (several behind a ZeroMQ socket, or none yet).
    """

    def __init__(self, window: Window, *, weight: int = 1) -> None:
        self.window = window
        self.held: deque[Run] = deque()
        self.held_bytes = 0
        self.acknowledged = 0
        self.acknowledged_bytes = 0
        self.weight = weight
        self.is_waiting = False
        self._bell = threading.Lock()
        self._bell.acquire()

    def call(self) -> None:
        """Wake the thread that waits in `wait`; under the queue's lock."""
        if self.is_waiting:
            self.is_waiting = False
            self._bell.release()

    def wait(self, lock: threading.Lock, timeout_seconds: float) -> None:
        """Sleep until called or until the time is over; begins and ends with the lock held."""
        self.is_waiting, was_called = True, False
        lock.release()
        try:
            was_called = self._bell.acquire(timeout=timeout_seconds)
        finally:  # a signal may interrupt the wait
            lock.acquire()
            if not was_called and not self.is_waiting:
                # Called between the end of the time and the lock; or a signal's exception came
                # when the call had been heard already.
                self._bell.acquire(blocking=False)
            self.is_waiting = False


class RunQueue:
    """A first-in first-out queue of runs.

    Attributes:
        queued_messages, queued_bytes: what waits for a consumer (bytes on the wire).
        redelivered_messages, redelivered_bytes: what was given to a second consumer (payload).
    """

    def __init__(self, pool: SlabPool) -> None:
        self.queued_messages = 0
        self.queued_bytes = 0
        self.redelivered_messages = 0
        self.redelivered_bytes = 0
        self._pool = pool
        self._runs: deque[Run] = deque()
        self._held_runs = 0
        self._is_closed = False
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._waiting: deque[Seat] = deque()
        self._seats: list[Seat] = []

    @property
    def is_delivered(self) -> bool:
        """Whether the queue is closed and nothing is queued or held."""
        with self._lock:  # a run on its way from queue to seat, or back, is in neither
            return self._is_empty_for_good()

    @property
    def held_messages(self) -> int:
        """What consumers have taken but not finished, in messages."""
        with self._lock:
            return sum(run.messages - run.acknowledged for s in self._seats for run in s.held)

    def unfinished(self) -> tuple[int, int]:
        """What is queued or held: messages, and their payload in bytes."""
        with self._lock:
            runs = [*self._runs, *(run for seat in self._seats for run in seat.held)]
            messages = sum(run.messages - run.acknowledged for run in runs)
            payload_bytes = sum(
                run.payload_bytes * (run.messages - run.acknowledged) // run.messages
                for run in runs
            )
            return messages, payload_bytes

    def put(self, run: Run) -> None:
        """Queue a run, which holds its slab; it joins the last one where they lie side by side."""
        joined = False
        with self._lock:
            last = self._runs[-1] if self._runs else None
            if (
                last is not None
                and last.slab is run.slab
                and last.stop == run.start
                and last.origin is run.origin
                and not last.is_redelivery
            ):
                last.join(run)
                joined = True
            else:
                self._runs.append(run)
            self.queued_messages += run.messages
            self.queued_bytes += run.size_bytes
            if self._waiting:
                self._call_one()
        if joined:
            self._pool.end_run(run.slab)

    def join(self, seat: Seat) -> None:
        """Let a consumer take part."""
        with self._lock:
            self._seats.append(seat)

    def take(self, seat: Seat, timeout_seconds: float) -> Run | None:
        """The next run for this seat; None if there is none for it within the time.

        A shorter wait than asked for is possible: look at `is_delivered` and call again.
        """
        with self._lock:
            run = self._next_for(seat)
            if run is None and timeout_seconds > 0 and not self._is_empty_for_good():
                self._waiting.append(seat)
                try:
                    seat.wait(self._lock, timeout_seconds)
                finally:
                    if seat in self._waiting:
                        self._waiting.remove(seat)
                run = self._next_for(seat)
            return run

    def ring(self, seat: Seat) -> None:
        """Let a waiting `take` of this seat return now."""
        with self._lock:
            seat.call()

    def end(self, seat: Seat, run: Run) -> None:
        """The seat's oldest run is done with."""
        with self._lock:
            seat.held.popleft()
            self._ended(seat, run)
        self._pool.end_run(run.slab)

    def acknowledge(self, seat: Seat, messages: int) -> bool:
        """The consumer has finished with this many messages since it came.

        Returns:
            False if it acknowledges more than it was given, or less than before.
        """
        ended: list[Run] = []
        with self._lock:
            new = messages - seat.acknowledged
            if new < 0 or new > sum(run.messages - run.acknowledged for run in seat.held):
                return False
            seat.acknowledged = messages
            while new:
                run = seat.held[0]
                part = min(new, run.messages - run.acknowledged)
                run.acknowledged += part
                new -= part
                if run.acknowledged == run.messages:
                    ended.append(seat.held.popleft())
                    self._ended(seat, run)
                    seat.acknowledged_bytes += run.payload_bytes
            seat.call()
        for run in ended:
            self._pool.end_run(run.slab)
        return True

    def leave(self, seat: Seat) -> int:
        """The consumer is gone: what it has not acknowledged goes to the front of the queue.

        Returns:
            The number of those messages.
        """
        returned = 0
        ended: list[Run] = []
        with self._lock:
            if seat in self._seats:
                self._seats.remove(seat)
            while seat.held:
                run = seat.held.pop()
                self._held_runs -= 1
                if run.acknowledged == run.messages:
                    ended.append(run)
                    continue
                if run.acknowledged:
                    done = run.split(run.acknowledged)
                    seat.acknowledged_bytes += done.payload_bytes
                    run.acknowledged = 0
                run.is_redelivery = run.is_redelivery or seat.window.retains
                self._runs.appendleft(run)
                self.queued_messages += run.messages
                self.queued_bytes += run.size_bytes
                returned += run.messages
            seat.held_bytes = 0
            if self._waiting:
                self._call_one()
            self._tell_if_settled()
        for run in ended:
            self._pool.end_run(run.slab)
        return returned

    def close(self) -> None:
        """Nothing more will be put."""
        with self._lock:
            self._is_closed = True
            self._tell_if_settled()

    def wait_delivered(self, timeout_seconds: float) -> bool:
        """Wait until everything is delivered; False if that is not so within the time."""
        with self._lock:
            return self._settled.wait_for(self._is_empty_for_good, timeout_seconds)

    def _is_empty_for_good(self) -> bool:
        return self._is_closed and not self._runs and not self._held_runs

    def _next_for(self, seat: Seat) -> Run | None:
        if not self._runs:
            return None
        run = self._runs[0]
        share = self._share() if run.messages > 1 else 1
        allowed = seat.window.messages_of(run, seat.held_bytes, share)
        if not allowed:
            return None
        if allowed < run.messages:
            self._pool.add_run(run.slab)
            run = run.split(allowed)
        else:
            self._runs.popleft()
        size = run.size_bytes
        self.queued_messages -= run.messages
        self.queued_bytes -= size
        if run.is_redelivery:
            self.redelivered_messages += run.messages
            self.redelivered_bytes += run.payload_bytes
        run.taken_at = time.monotonic()
        seat.held.append(run)
        seat.held_bytes += size
        self._held_runs += 1
        if self._runs and self._waiting:
            self._call_one()
        return run

    def _share(self) -> int:
        """What each consumer would get of the queue, in messages; at least 1."""
        peers = sum(seat.weight for seat in self._seats)
        return -(-self.queued_messages // max(1, peers))

    def _ended(self, seat: Seat, run: Run) -> None:
        seat.held_bytes -= run.size_bytes
        self._held_runs -= 1
        seat.window.on_end(run, time.monotonic())
        self._tell_if_settled()

    def _tell_if_settled(self) -> None:
        if self._is_empty_for_good():
            self._settled.notify_all()
            while self._waiting:
                self._waiting.popleft().call()

    def _call_one(self) -> None:
        """Wake the seat that has waited longest and may take the first run."""
        if not self._runs:
            return
        run = self._runs[0]
        for seat in self._waiting:
            if seat.window.messages_of(run, seat.held_bytes, 1):
                self._waiting.remove(seat)
                seat.call()
                return
