"""Follows the transfers of the demo from outside, as a user would: over Airflow's REST interface.

As soon as a transfer's buffer listens, its consumers are started (`lclstream pull`). Whatever
happens is told once, with the seconds since the run began.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_lclstream.arp.airflow_client import AirflowClient
from airflow_provider_lclstream.arp.dispatcher import TRANSFER_DAG_ID
from airflow_provider_lclstream.psik.models import JobState
from airflow_provider_lclstream.psik.store import Job, JobStore
from airflow_provider_lclstream.sim.component import Component
from airflow_provider_lclstream.sim.simulated_run import SimulatedRun
from airflow_provider_lclstream.transfer.launch_plan import read_endpoints
from airflow_provider_lclstream.transfer.models import dag_run_id
from lclstreamer.core.errors import IncompleteStreamError, LCLStreamError, TemporaryError

POLL_SECONDS = 0.3
CONSUMER_TIMEOUT_SECONDS = 60.0
SILENCE_SECONDS = 60.0
FINAL_STATES = frozenset({"success", "failed"})


@dataclass
class FollowedTransfer:
    """One run and what became of it.

    Attributes:
        started_unix: when the logbook was told that the run begins.
        seconds: milestone → seconds after that.
    """

    run: SimulatedRun
    run_oid: str
    started_unix: float
    folder: Path
    dag_state: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    consumers: list[Component] = field(default_factory=list)
    settlement: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    @property
    def dag_run_id(self) -> str:
        """The id under which its DAG run must appear."""
        return dag_run_id(self.run.experiment, self.run.run_number, self.run_oid)

    @property
    def is_final(self) -> bool:
        """Whether its DAG run has ended."""
        return self.dag_state in FINAL_STATES

    def message_files(self) -> list[Path]:
        """The messages that consumers have written so far."""
        folders = sorted(path for path in self.folder.glob("consumer-*") if path.is_dir())
        return [
            path for folder in folders for path in sorted(folder.iterdir())
            if path.is_file() and not path.name.startswith(".")
        ]  # fmt: skip


Tell = Callable[[FollowedTransfer, str], None]


class Followers:
    """Watches all transfers of a demo with one question to Airflow per look."""

    def __init__(
        self,
        transfers: list[FollowedTransfer],
        client: AirflowClient,
        store: JobStore,
        *,
        consumers: int,
        tell: Tell,
    ) -> None:
        self._transfers, self._client, self._store = transfers, client, store
        self._consumers, self._tell = consumers, tell

    async def follow(self, check: Callable[[], None], timeout_seconds: float) -> None:
        """Until every transfer has ended.

        Args:
            check: raises when something that all depends on has ended.
            timeout_seconds: for all of them together.

        Raises:
            TemporaryError: they have not ended in time.
        """
        answered = time.monotonic()
        deadline = answered + timeout_seconds
        while not all(transfer.is_final for transfer in self._transfers):
            check()
            if time.monotonic() > deadline:
                late = [t.dag_run_id for t in self._transfers if not t.is_final]
                raise TemporaryError(
                    f"after {timeout_seconds:.0f} s these have not ended: {', '.join(late)}",
                    mend="allow more with --timeout; this machine may be busy",
                )
            answered = await self._try_to_look(answered)
            await asyncio.sleep(POLL_SECONDS)
        for transfer in self._transfers:
            await self._finish(transfer)

    def stop(self) -> None:
        """End every consumer that still runs."""
        for transfer in self._transfers:
            for consumer in transfer.consumers:
                consumer.stop()

    async def dag_runs(self) -> list[dict[str, Any]]:
        """All runs of the transfer DAG."""
        document = await self._client.get(f"/api/v2/dags/{TRANSFER_DAG_ID}/dagRuns?limit=1000")
        return document["dag_runs"]

    async def _try_to_look(self, answered: float) -> float:
        """Look, and give the time of the last look that Airflow answered.

        A busy machine's Airflow may leave a question unanswered; a minute of that is too much.
        """
        try:
            await self._look()
        except LCLStreamError as error:
            if not error.transient or time.monotonic() - answered > SILENCE_SECONDS:
                raise
            return answered
        return time.monotonic()

    async def _look(self) -> None:
        runs = {run["dag_run_id"]: run for run in await self.dag_runs()}
        self._find_jobs()
        for transfer in self._transfers:
            run = runs.get(transfer.dag_run_id)
            if run is None:
                continue
            if _reach(transfer, "dag_run", _unix(run["queued_at"])):
                self._tell(transfer, f"DAG run {transfer.dag_run_id}")
            if run["state"] == "running" and not transfer.consumers:
                await self._start_consumers(transfer)
            self._see_progress(transfer)
            if run["state"] in FINAL_STATES and not transfer.is_final:
                _reach(transfer, "completed", _unix(run["end_date"]))
                transfer.dag_state = run["state"]
                self._tell(transfer, f"DAG run ended: {run['state']}")

    async def _start_consumers(self, transfer: FollowedTransfer) -> None:
        value = await self._xcom(transfer, "buffer_up")
        if value is None:
            return
        outlets = read_endpoints(value).outlets
        url = outlets.get("nng") or next(iter(outlets.values()))
        _reach(transfer, "buffer_ready", time.time())
        self._tell(transfer, f"buffer listens; {self._consumers} consumers pull from {url}")
        for number in range(1, self._consumers + 1):
            consumer = Component(
                f"consumer {number} of run {transfer.run.run_number}",
                [Path(sys.prefix) / "bin" / "lclstream", "pull", url,
                 "-o", transfer.folder / f"consumer-{number}",
                 "--report", transfer.folder / f"consumer-{number}.json"],
                log=transfer.folder / f"consumer-{number}.log",
                environment=os.environ,
                folder=transfer.folder,
            )  # fmt: skip
            consumer.start()
            transfer.consumers.append(consumer)

    def _find_jobs(self) -> None:
        wanted = {
            f"{role} {transfer.run.experiment} run {transfer.run.run_number}": (transfer, role)
            for transfer in self._transfers
            for role in ("buffer", "streamer")
            if role not in transfer.jobs
        }
        known = {job.jobid for transfer in self._transfers for job in transfer.jobs.values()}
        for job in self._store.jobs() if wanted else []:
            if job.jobid not in known and job.spec.name in wanted:
                transfer, role = wanted[job.spec.name]
                transfer.jobs[role] = job

    def _see_progress(self, transfer: FollowedTransfer) -> None:
        streamer = transfer.jobs.get("streamer")
        if streamer is not None and "streamer_active" not in transfer.seconds:
            active = [row.time for row in streamer.history() if row.state is JobState.active]
            if active and _reach(transfer, "streamer_active", active[0]):
                self._tell(transfer, "streamer active")
        if transfer.consumers and "first_event" not in transfer.seconds:
            first = _first_written(transfer)
            if first is not None and _reach(transfer, "first_event", first):
                self._tell(transfer, "first events at a consumer")

    async def _finish(self, transfer: FollowedTransfer) -> None:
        transfer.settlement = await self._xcom(transfer, "settle") or {}
        self._see_progress(transfer)
        for consumer in transfer.consumers:
            code = consumer.wait(CONSUMER_TIMEOUT_SECONDS)
            if code and transfer.dag_state == "success":
                raise consumer.failure(f"ended with exit code {code}")
        if transfer.dag_state != "success":
            raise self._failure(transfer)

    async def _xcom(self, transfer: FollowedTransfer, task_id: str) -> dict[str, Any] | None:
        path = (
            f"/api/v2/dags/{TRANSFER_DAG_ID}/dagRuns/{transfer.dag_run_id}"
            f"/taskInstances/{task_id}/xcomEntries/return_value?deserialize=true"
        )
        try:
            return (await self._client.get(path))["value"]
        except TemporaryError:  # 404: not there yet
            return None

    def _failure(self, transfer: FollowedTransfer) -> IncompleteStreamError:
        problems = "; ".join(transfer.settlement.get("problems", [])) or "it was not settled"
        logs = "\n".join(
            f"  {role} ({job.state()}), end of its log:\n{_tail(job)}"
            for role, job in transfer.jobs.items()
        )
        return IncompleteStreamError(
            f"the transfer of run {transfer.run.run_number} failed: {problems}\n{logs}",
            mend="run it again with --keep and look at the tasks' logs in Airflow",
        )


def _reach(transfer: FollowedTransfer, milestone: str, unix: float) -> bool:
    """Note when a milestone was reached; False where that was known."""
    if milestone in transfer.seconds:
        return False
    transfer.seconds[milestone] = round(unix - transfer.started_unix, 3)
    return True


def _first_written(transfer: FollowedTransfer) -> float | None:
    times: list[float] = []
    for path in transfer.message_files():
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:  # a partial file that has just got its name
            continue
    return min(times, default=None)


def _tail(job: Job, limit_bytes: int = 2000) -> str:
    names = [name for name in job.log_names() if name.startswith(("stderr", "console"))]
    text = "".join(
        job.read_log(name, -limit_bytes, None).decode("utf-8", "replace") for name in names
    )
    return "\n".join(f"  | {line}" for line in text.splitlines()[-12:]) or "  | (empty)"


def _unix(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else time.time()
