"""The whole path on one machine, in front of your eyes.

A run starts in the logbook; Airflow hears it over Kafka; a transfer streams the run's events
through a buffer to consumers; every event is proved to have arrived exactly once; a picture shows
what was in them. Everything that was started is stopped at the end, however it ends.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from airflow_provider_lclstream.sim.conclusion import conclude
from airflow_provider_lclstream.sim.daq import DataTakingSystem
from airflow_provider_lclstream.sim.follow import FollowedTransfer, Followers
from airflow_provider_lclstream.sim.simulated_run import (
    Format,
    SimulatedRun,
    preferred_format,
    write_run,
)
from airflow_provider_lclstream.sim.stage import EXPERIMENT, Stage, StageSettings
from lclstreamer.core.errors import IncompleteStreamError, MissingDependencyError, OutputError
from lclstreamer.core.output import note
from lclstreamer.core.units import format_bytes

EXTRA_RUNS_SECONDS = 3.0
"""How long to look for transfers that nobody asked for."""
PACKAGES = ("airflow", "confluent_kafka", "h5py", "matplotlib", "numpy")
FIRST_DAG_RUN_SECONDS = 60.0
BULK = ("messages", "jobs", "airflow")
"""Folders that are removed after a demo that went well."""


@dataclass(frozen=True)
class DemoSettings:
    """What is asked for on the command line.

    Attributes:
        events: shots in each run.
        ranks: event-producing ranks of each transfer.
        consumers: `lclstream pull` processes of each transfer.
        runs: how many runs start, in a burst.
        folder: everything is written there; a new temporary folder where None.
        keep: leave Airflow's interface up until interrupted, and the folder as it is.
        form: what the simulated run is written as; xtc2 wherever psana is installed.
        port: of Airflow's interface; 0 takes a free one.
        timeout_seconds: for all transfers together.
    """

    events: int = 120
    ranks: int = 2
    consumers: int = 2
    runs: int = 1
    folder: Path | None = None
    keep: bool = False
    form: Format | None = None
    port: int = 0
    timeout_seconds: float = 600.0


def run_demo(settings: DemoSettings) -> dict[str, Any]:
    """Show the whole path and return what came of it.

    Raises:
        LCLStreamError: something did not start, ended early or lost events; it says what.
    """
    _check_packages()
    folder = _make_folder(settings.folder)
    story = _Story()
    story.tell(f"folder {folder}")
    stage_settings = StageSettings(
        folder, settings.ranks, settings.form or preferred_format(), settings.port
    )
    stage = Stage(stage_settings, story.tell)
    with _interruptible() as stop_listening:
        try:
            result = asyncio.run(_perform(settings, stage, story))
            if settings.keep:
                _stay(stage)
        finally:
            stop_listening()  # a second Ctrl-C must not leave half of it running
            story.tell("stopping everything")
            stage.close()
            if not settings.keep:
                _remove(folder, "runs")
    if not settings.keep:
        _remove(folder, *BULK)
    return result


def _remove(folder: Path, *names: str) -> None:
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)


async def _perform(settings: DemoSettings, stage: Stage, story: _Story) -> dict[str, Any]:
    stage.open()
    runs = [_write(settings, stage, story, number + 1) for number in range(settings.runs)]
    await stage.wait_ready()
    transfers = [_start_run(stage, story, run) for run in runs]
    async with aclosing(stage.client()) as client:
        followers = Followers(
            transfers, client, stage.store, consumers=settings.consumers, tell=story.tell_of
        )
        try:
            await followers.follow(_watchman(stage, transfers), settings.timeout_seconds)
        finally:
            followers.stop()
        DataTakingSystem(stage.elog_url, EXPERIMENT).end_run()
        await _refuse_extra_runs(followers, transfers)
    result = conclude(transfers, stage.folder)
    story.tell(
        f"{result['events_delivered']} of {result['events_produced']} events arrived, "
        f"{result['events_lost']} lost, {result['events_duplicated']} twice; "
        f"{result['hits']} hits found, {result['hits_simulated']} were put in"
    )
    return result


def _write(settings: DemoSettings, stage: Stage, story: _Story, number: int) -> SimulatedRun:
    begun = time.monotonic()
    run = write_run(
        stage.folder / "runs", EXPERIMENT, number, settings.events, form=stage.settings.form
    )
    size = sum(path.stat().st_size for path in run.files)
    story.tell(
        f"run {number} is on disk: {settings.events} shots, {len(run.files)} {run.format} "
        f"file{'s' * (len(run.files) > 1)}, {format_bytes(size)}, "
        f"written in {time.monotonic() - begun:.1f} s"
    )
    return run


def _start_run(stage: Stage, story: _Story, run: SimulatedRun) -> FollowedTransfer:
    daq = DataTakingSystem(stage.elog_url, EXPERIMENT)
    started = time.time()
    document = daq.start_run(run.run_number)
    for path in run.files:
        daq.register_file(run.run_number, path)
    folder = stage.folder / "messages" / f"r{run.run_number:04d}"
    folder.mkdir(parents=True)
    transfer = FollowedTransfer(run, document["_id"], started, folder)
    story.tell(f"logbook: {EXPERIMENT} run {run.run_number} begins")
    return transfer


def _watchman(stage: Stage, transfers: list[FollowedTransfer]) -> Callable[[], None]:
    """A check that everything runs, and that the first run event was answered at all."""
    deadline = time.monotonic() + FIRST_DAG_RUN_SECONDS

    def check() -> None:
        stage.check()
        is_answered = any("dag_run" in transfer.seconds for transfer in transfers)
        if not is_answered and time.monotonic() > deadline:
            raise stage.airflow.components["triggerer"].failure(
                f"started no transfer within {FIRST_DAG_RUN_SECONDS:.0f} s of the run's start"
            )

    return check


async def _refuse_extra_runs(followers: Followers, transfers: list[FollowedTransfer]) -> None:
    """A message that comes twice must not give a second transfer: look again a little later."""
    await asyncio.sleep(EXTRA_RUNS_SECONDS)
    found = Counter(run["dag_run_id"] for run in await followers.dag_runs())
    extra = sorted(set(found) - {transfer.dag_run_id for transfer in transfers})
    if extra:
        raise IncompleteStreamError(
            f"{len(extra)} transfers were started that no run asked for: {', '.join(extra)}",
            mend="report it: a run event was taken for two",
        )


def _check_packages() -> None:
    """Say what is missing before anything is started, not a minute later."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"the demo needs Python packages that are not installed: {', '.join(missing)}",
            mend="pip install 'airflow-provider-lclstream[demo]'",
        )


def _make_folder(folder: Path | None) -> Path:
    try:
        if folder is None:
            return Path(tempfile.mkdtemp(prefix="lclstream-demo-"))
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputError(
                "the folder is not empty", where=str(folder), mend="give a new or empty folder"
            )
    except OSError as error:
        raise OutputError(
            f"the demo's folder cannot be made: {error.strerror}",
            where=str(folder or tempfile.gettempdir()),
            mend="give a folder that this user may write to, with --folder",
        ) from error
    return folder.resolve()


def _stay(stage: Stage) -> None:
    airflow = stage.airflow.settings
    note(f"\nAirflow stays up: {airflow.url}  user {airflow.username}, password {airflow.password}")
    note("Press Ctrl-C to stop it.")
    try:
        while True:
            stage.check()
            time.sleep(1)
    except KeyboardInterrupt:
        note("")


@contextmanager
def _interruptible() -> Generator[Callable[[], None]]:
    """Ctrl-C and a polite kill interrupt at once; what is given makes both be ignored.

    Set before asyncio is started, which otherwise keeps Ctrl-C until its next step.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def stop_listening() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield stop_listening
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class _Story:
    """Tells what happens as it happens: seconds since the start, or since a run began."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def tell(self, what: str) -> None:
        note(f"{time.monotonic() - self._begun:7.1f} s  {what}")

    def tell_of(self, transfer: FollowedTransfer, what: str) -> None:
        last = max(transfer.seconds.values(), default=0.0)
        self.tell(f"  run {transfer.run.run_number} +{last:.1f} s  {what}")


def exit_code_of(result: dict[str, Any]) -> int:
    """0 where every event of every run arrived exactly once."""
    return 0 if result["state"] == "completed" else IncompleteStreamError.exit_code
