"""The courier: one per prefix, it follows the jobs that have a callback and tells their states.

Whoever submits a job with a callback starts one, unless one is there; it ends when nothing is left
to tell. A service runs it as a thread of its own. It also asks the backends about those jobs, so
that the end of a job which dies silently is delivered as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from airflow_provider_lclstream.psik.callbacks.clients import CallbackClients
from airflow_provider_lclstream.psik.callbacks.outbox import OUTBOX, Event, Outbox
from airflow_provider_lclstream.psik.callbacks.signing import OWN_HEADERS, event_id, signed_headers
from airflow_provider_lclstream.psik.callbacks.start import (
    courier_lock,
    watched,
    watched_folder,
)
from airflow_provider_lclstream.psik.job import Job, JobNotFoundError
from airflow_provider_lclstream.psik.layout import PRIVATE, is_jobid
from airflow_provider_lclstream.psik.models import BackendConfig
from airflow_provider_lclstream.psik.reconciler import reconcile
from airflow_provider_lclstream.psik.state_log import try_lock
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import LCLStreamError
from lclstreamer.core.exposition import Counts

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.1
"""How often the state logs are looked at."""
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True)
class CourierSettings:
    """How a courier behaves. All times in seconds."""

    timeout_seconds: float = 10.0
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0
    give_up_seconds: float = 86400.0
    reconcile_seconds: float = 2.0
    at_once: int = 64
    at_once_per_host: int = 8

    def pause(self, tries: int) -> float:
        """How long to wait after so many tries in vain: doubling, with some chance in it."""
        longest = min(self.first_pause_seconds * 2**tries, self.longest_pause_seconds)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  (spreads load, hides nothing)


@dataclass
class _Followed:
    """A job whose callbacks are followed, to which host.

    Attributes:
        job: the job.
        host: the host and port of its callback.
        log_bytes: how long its log was last time.
        problem: what was wrong with its folder last time.
    """

    job: Job
    host: str
    log_bytes: int = -1
    problem: str = ""


@dataclass
class Courier:
    """Follows one store and delivers its callbacks. Hold `try_lock` on its lock while it runs."""

    store: JobStore
    settings: CourierSettings = field(default_factory=CourierSettings)
    clients: CallbackClients = field(default_factory=CallbackClients.of_this_environment)
    stop: threading.Event = field(default_factory=threading.Event)
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        folder = self.store.prefix / PRIVATE
        self._watched = watched_folder(self.store.prefix)
        self._watched.mkdir(exist_ok=True)
        self._outbox = Outbox(folder / OUTBOX)
        self._jobs: dict[str, _Followed] = {}
        self._in_flight: dict[str, str] = {}
        self._away = set[str]()
        self._asked = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def run(self, *, until_idle: bool) -> None:
        """Deliver until stopped, or until nothing is left to tell."""
        try:
            async with self.clients, asyncio.TaskGroup() as tasks:
                while not self.stop.is_set():
                    if self._is_time_to_ask():
                        self._asking = tasks.create_task(self._ask_backends())
                    self._look()
                    for event in self._ready():
                        tasks.create_task(self._deliver(event))
                    # While a backend is still being asked it goes on: new jobs may need it.
                    is_asking = self._asking is not None and not self._asking.done()
                    if until_idle and not (self._jobs or self._in_flight or is_asking):
                        return
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._outbox.close()

    def _is_time_to_ask(self) -> bool:
        is_idle = self._asking is None or self._asking.done()
        return is_idle and time.monotonic() - self._asked >= self.settings.reconcile_seconds

    async def _ask_backends(self) -> None:
        # Beside the deliveries: a scheduler that is slow to answer does not delay them.
        jobs = [followed.job for followed in self._jobs.values()]
        await asyncio.to_thread(reconcile, jobs)
        self._asked = time.monotonic()

    def _look(self) -> None:
        """Take what the logs have got since the last look, and drop jobs that are done."""
        for name in watched(self.store.prefix):
            if name not in self._jobs and is_jobid(name):
                self._follow(name)
        for jobid, followed in list(self._jobs.items()):
            try:
                self._look_at(jobid, followed)
            except (FileNotFoundError, JobNotFoundError):
                self._let_go(jobid, is_removed=True)
            except (LCLStreamError, OSError) as error:
                # The others are told; this one is looked at again.
                if followed.problem != str(error):
                    logger.warning("callbacks wait", extra={"problem": f"{jobid}: {error}"})
                followed.problem = str(error)

    def _look_at(self, jobid: str, followed: _Followed) -> None:
        size = _log_bytes(followed.job)
        if size != followed.log_bytes:
            self._outbox.follow(jobid, followed.job.history())
            followed.log_bytes = size
        elif jobid not in self._in_flight and not self._outbox.waiting(jobid):
            self._let_go(jobid, is_removed=False)

    def _follow(self, jobid: str) -> None:
        try:
            job = self.store.get(jobid)
            # Read now and kept: the folder may be removed while a callback is on its way.
            host = urlsplit(job.spec.callback or "").netloc
        except (LCLStreamError, ValueError, OSError) as error:
            # Gone, or damaged so that nobody can know whom to tell.
            if not isinstance(error, JobNotFoundError):
                logger.warning("a job has no callbacks", extra={"problem": f"{jobid}: {error}"})
            (self._watched / jobid).unlink(missing_ok=True)
        else:
            self._jobs[jobid] = _Followed(job, host)

    def _let_go(self, jobid: str, *, is_removed: bool) -> None:
        followed = self._jobs[jobid]
        if not is_removed and not followed.job.state().is_final:
            return
        mark = self._watched / jobid
        mark.unlink(missing_ok=True)
        if is_removed:
            self._outbox.forget(jobid)
        elif _log_bytes(followed.job) != followed.log_bytes:
            mark.touch()  # started again in this very moment, and perhaps at its end again
            return
        del self._jobs[jobid]

    def _ready(self) -> list[Event]:
        """What is due, with bounds on how much is sent at once, to all and to each host."""
        hosts, chosen = Counter(self._in_flight.values()), list[Event]()
        for event in self._outbox.due(time.time(), self.settings.longest_pause_seconds):
            if event.jobid in self._in_flight or event.jobid not in self._jobs:
                continue
            if len(self._in_flight) >= self.settings.at_once:
                break
            host = self._jobs[event.jobid].host
            if hosts[host] < self.settings.at_once_per_host:
                hosts[host] += 1
                self._in_flight[event.jobid] = host
                chosen.append(event)
        return chosen

    async def _deliver(self, event: Event) -> None:
        job = self._jobs[event.jobid].job
        try:
            problem = await self._send(job, event)
            outcome = "failed"
            if problem is None:
                outcome = "delivered"
                self._outbox.delivered(event)
            elif time.time() - event.taken >= self.settings.give_up_seconds:
                outcome = "given_up"
                self._outbox.delivered(event)
                job.note(
                    f"callback {event.number} given up after {event.tries + 1} tries: {problem}"
                )
            else:
                if event.tries == 0:
                    job.note(f"callback {event.number} is tried again: {problem}")
                self._outbox.again(event, time.time() + self.settings.pause(event.tries))
            self.counts.add("lclstream_callbacks_sent_total", outcome)
        finally:
            del self._in_flight[event.jobid]

    def _is_back(self, host: str) -> None:
        """A receiver answers again: what waits for it need not wait out its pauses."""
        if host in self._away:
            self._away.discard(host)
            theirs = (jobid for jobid, job in self._jobs.items() if job.host == host)
            self._outbox.hasten(theirs, time.time())

    async def _send(self, job: Job, event: Event) -> str | None:
        """Send it once; returns what went wrong, or None."""
        import httpx2

        own = {k: v for k, v in job.spec.cb_headers.items() if k.lower() not in OWN_HEADERS}
        proof = signed_headers(
            job.secret(), event_id(job.jobid, event.number), int(time.time()), event.body
        )
        try:
            async with asyncio.timeout(self.settings.timeout_seconds):
                status = await self.clients.post(
                    job.spec.callback or "", event.body, {**own, **proof}
                )
        except (httpx2.HTTPError, httpx2.InvalidURL, LCLStreamError, OSError, ValueError) as error:
            self._away.add(self._in_flight[event.jobid])
            return f"{type(error).__name__}: {error}".rstrip(": ")
        self._is_back(self._in_flight[event.jobid])
        return None if 200 <= status < 300 else f"it answered {status}"


def _log_bytes(job: Job) -> int:
    return (job.folder / "status.csv").stat().st_size


class Pauses:
    """How long to wait before a courier that failed is replaced: longer each time, to a minute.

    On a full disk it cannot note what it has delivered, and its successor delivers it again.
    """

    def __init__(self) -> None:
        self._seconds, self._began = 0.5, time.monotonic()

    def next(self) -> float:
        """The next pause, in seconds; short again after a courier that lasted."""
        lasted = time.monotonic() - self._began > 2 * LONGEST_PAUSE_SECONDS
        self._seconds = 1.0 if lasted else min(self._seconds * 2, LONGEST_PAUSE_SECONDS)
        self._began = time.monotonic()
        return self._seconds


def reason_of(error: Exception) -> str:
    """What made a courier fail, in words."""
    if isinstance(error, ExceptionGroup):
        return "; ".join(dict.fromkeys(reason_of(each) for each in error.exceptions))
    return f"{type(error).__name__}: {error}"


def main(argv: list[str]) -> int:
    """Deliver what is to be told under a prefix, and end: ``PREFIX BACKENDS_JSON``."""
    prefix = Path(argv[0])
    backends = {n: BackendConfig.model_validate(c) for n, c in json.loads(argv[1]).items()}
    pauses = Pauses()
    # Looked at again with the lock released: a job marked in the last moment is not forgotten.
    while watched(prefix):
        with try_lock(courier_lock(prefix)) as is_ours:
            if not is_ours:
                return 0
            try:
                asyncio.run(Courier(JobStore(prefix, backends)).run(until_idle=True))
            except (LCLStreamError, OSError, ExceptionGroup) as error:
                with contextlib.suppress(OSError):  # its log may lie on a disk that is full
                    sys.stderr.write(f"{time.ctime()}: callbacks wait: {reason_of(error)}\n")
                    sys.stderr.flush()
                time.sleep(pauses.next())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
