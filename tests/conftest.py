"""What every test may use: the recorded data, requirements that skip with a mend, processes.

A test that needs a real part says so with a marker (``@pytest.mark.psana``) or with the fixture
``require``. Where the part is missing the test skips and says how to get it; with
``LCLSTREAM_REQUIRE_REAL=1`` (continuous integration) such a skip is a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
REQUIRE_REAL = os.environ.get("LCLSTREAM_REQUIRE_REAL") == "1"


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _program(name: str) -> bool:
    system = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # users lack the folders of daemons
    return shutil.which(name, path=system) is not None or (BIN / name).exists()


REAL_PARTS: dict[str, tuple[Callable[[], bool], str]] = {
    "psana": (lambda: _installed("psana"), "run `make provision PARTS=psana`, then `make test`"),
    "mpi": (lambda: _program("mpirun") and _installed("mpi4py"), "install the extra 'streamer'"),
    "airflow": (lambda: _installed("airflow"), "install the extra 'airflow'"),
    "slurm": (
        lambda: _program("slurmctld") and os.geteuid() == 0,
        "as root, run `make provision PARTS=slurm` and the tests",
    ),
    "kafka": (
        lambda: bool(_kafka_jars()) and _program("java"),
        "run `make provision PARTS=kafka`",
    ),
}
"""Marker → whether the part is here, and what to do where it is not."""


def _kafka_jars() -> list[Path]:
    return sorted((ROOT / ".cache" / "kafka" / "libs").glob("kafka_*.jar"))


QUICK_FIRST = ("architecture", "unit", "integration", "interop", "airflow", "acceptance")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run what is quick first: a broken unit should not wait for an acceptance test.

    Acceptance tests that run other tests again are for ``make accept``: in a run of everything
    they would only do it twice.
    """
    if not any("acceptance" in word for word in config.args):
        repeats = [item for item in items if item.get_closest_marker("repeats")]
        config.hook.pytest_deselected(items=repeats)
        items[:] = [item for item in items if item not in repeats]

    def place(item: pytest.Item) -> int:
        parts = item.path.relative_to(ROOT / "tests").parts
        return QUICK_FIRST.index(parts[0]) if parts[0] in QUICK_FIRST else -1

    items.sort(key=place)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marker names a part that is not here."""
    for marker, (is_here, mend) in REAL_PARTS.items():
        if item.get_closest_marker(marker) and not is_here():
            pytest.skip(f"{marker} is not here: {mend}")
    switch = item.get_closest_marker("opt_in")
    if switch and os.environ.get(switch.args[0], "0") in {"", "0"}:
        what = switch.kwargs.get("what", "1")
        pytest.skip(f"set {switch.args[0]}={what} to run it")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """With LCLSTREAM_REQUIRE_REAL=1 a skip is a failure, unless the test is opt-in."""
    report = yield
    if REQUIRE_REAL and report.skipped and not item.get_closest_marker("opt_in"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\n(LCLSTREAM_REQUIRE_REAL=1 makes a skip a failure)"
    return report


@pytest.fixture(scope="session")
def require() -> Callable[[Any, str], None]:
    """``require(condition, mend)``: skip the test and say the mend where the condition is false."""

    def check(condition: Any, mend: str) -> None:
        if not condition:
            pytest.skip(mend)

    return check


@pytest.fixture(scope="session")
def shared_data(require: Callable[[Any, str], None]) -> Path:
    """The folder that holds ``data/`` with recorded runs: LCLSTREAM_SHARED, else ``../shared``."""
    folder = Path(os.environ.get("LCLSTREAM_SHARED") or ROOT.parent / "shared").resolve()
    require(
        (folder / "data").is_dir(), f"put the recorded data at {folder} or set LCLSTREAM_SHARED"
    )
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def venv_bin() -> Path:
    """The folder of the programs installed beside the running Python."""
    return BIN


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that gives a TCP port on loopback nobody listens on at this moment."""
    return _free_port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(
    condition: Callable[[], Any], *, timeout_seconds: float = 60, what: str = "the condition"
) -> Any:
    deadline = time.monotonic() + timeout_seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {timeout_seconds:g} s", pytrace=False)
        time.sleep(0.02)


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., Any]:
    """``wait_for(condition, timeout_seconds=20, what="…")``: poll, give the first true value."""
    return _wait_for


@dataclass
class Running:
    """A program a test started, in its own process group, with its output in two files."""

    process: subprocess.Popen[bytes]
    stdout_file: Path
    stderr_file: Path

    @property
    def stdout(self) -> str:
        """What it has written to standard output so far."""
        return self.stdout_file.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it has written to standard error so far."""
        return self.stderr_file.read_text(errors="replace")

    def wait(self, timeout_seconds: float = 30) -> int:
        """Its exit code; fails the test with the program's output if it does not end in time."""
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.stop(signal.SIGKILL)
            pytest.fail(
                f"{self.process.args} still ran after {timeout_seconds:g} s\n"
                f"--- stdout\n{self.stdout[-4000:]}\n--- stderr\n{self.stderr[-4000:]}",
                pytrace=False,
            )

    def stop(self, how: int = signal.SIGTERM, timeout_seconds: float = 5) -> int:
        """Signal the whole group, wait a bounded time, then kill what is left; the exit code."""
        for number, patience in ((how, timeout_seconds), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        return self.process.wait(5)


class Processes:
    """Starts programs for one test and stops every one of them at its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Running] = []

    def start(
        self,
        arguments: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: int | None = subprocess.DEVNULL,
    ) -> Running:
        """Start a program; a bare name is looked for beside the running Python first.

        ``environment`` is added to this process's own.
        """
        program = str(arguments[0])
        if "/" not in program and (BIN / program).exists():
            program = str(BIN / program)
        number = len(self._running)
        # Two files, not pipes: a program must never wait for a test to read.
        files = [
            self._folder / f"{number:02d}-{Path(program).name}.{end}" for end in ("out", "err")
        ]
        with files[0].open("wb") as out, files[1].open("wb") as err:
            process = subprocess.Popen(
                [program, *map(str, arguments[1:])],
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        running = Running(process, *files)
        self._running.append(running)
        return running

    def run(
        self, arguments: Sequence[str | Path], *, timeout_seconds: float = 60, **options: Any
    ) -> Running:
        """Start a program and wait for its end; ``.process.returncode`` is its exit code."""
        running = self.start(arguments, **options)
        running.wait(timeout_seconds)
        return running

    def stop_all(self) -> None:
        """Stop everything still running, the youngest first."""
        for running in reversed(self._running):
            running.stop()


@pytest.fixture
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Start programs with ``processes.start([...])`` or ``processes.run([...])``."""
    started = Processes(tmp_path_factory.mktemp("processes"))
    yield started
    started.stop_all()


KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller_port}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.dirs={folder}/log
"""


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real Apache Kafka, private to this test session.

    Mark the test ``kafka`` too, so that it skips where no Kafka is installed.
    """
    if not REAL_PARTS["kafka"][0]():
        pytest.skip(f"kafka is not here: {REAL_PARTS['kafka'][1]}")
    folder = tmp_path_factory.mktemp("kafka")
    port, controller_port = _free_port(), _free_port()
    settings = folder / "server.properties"
    settings.write_text(
        KAFKA_PROPERTIES.format(port=port, controller_port=controller_port, folder=folder)
    )
    java = ["java", "-Xmx512m", "-cp", f"{_kafka_jars()[0].parent}/*"]
    processes = Processes(folder)
    identity = processes.run([*java, "kafka.tools.StorageTool", "random-uuid"]).stdout.split()[-1]
    processes.run([*java, "kafka.tools.StorageTool", "format", "-t", identity, "-c", settings])
    broker = processes.start([*java, "kafka.Kafka", settings])

    def is_up() -> bool:
        assert broker.process.poll() is None, broker.stderr[-3000:]
        return "Kafka Server started" in broker.stdout + broker.stderr

    try:
        _wait_for(is_up, timeout_seconds=60, what="the Kafka broker")
        yield f"127.0.0.1:{port}"
    finally:
        processes.stop_all()


@pytest.fixture
def figure() -> Callable[[str, Any], None]:
    """``figure(name, value)`` prints one measured figure, for `make accept` and the reader."""

    def show(name: str, value: Any) -> None:
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        sys.__stdout__.write(f"FIGURE {name}: {text}\n")
        sys.__stdout__.flush()

    return show
