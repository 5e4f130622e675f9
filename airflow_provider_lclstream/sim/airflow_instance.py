"""A whole Airflow for one user on one machine, in a folder of its own.

Its four components are started and stopped one by one (`airflow standalone` leaves its children
behind). SQLite, a fixed user with a random password, our DAGs only, listening on loopback.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_lclstream.sim import one_writer
from airflow_provider_lclstream.sim.component import Component
from lclstreamer.core.errors import MissingDependencyError, UnavailableError

MIGRATION_TIMEOUT_SECONDS = 180.0
HEALTH_POLL_SECONDS = 0.3
STOP_TIMEOUT_SECONDS = 3.0
LOCK_TIMEOUT_SECONDS = 60

COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    # Logs are read from the disk, so nobody needs the two log servers, which listen everywhere.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
"""In the order in which they are started; stopped in the opposite one."""

HEALTH_NAMES = {
    "metadatabase": "api-server",
    "scheduler": "scheduler",
    "dag_processor": "dag-processor",
    "triggerer": "triggerer",
}
"""What Airflow's health page calls them."""


def dags_folder() -> Path:
    """Our DAGs: inside the installed package, or beside it in a checkout.

    Raises:
        MissingDependencyError: they are in neither place.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "dags", package.parent / "dags"):
        if (folder / "lclstream_transfer.py").exists():
            return folder
    raise MissingDependencyError(
        "the DAGs are not installed", where=str(package), mend="install the package again"
    )


def find_port(wanted: int = 0) -> int:
    """A free port on loopback, or the wanted one if it is free.

    Raises:
        UnavailableError: somebody listens on the wanted one.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise UnavailableError(
                f"port {wanted} of 127.0.0.1 is in use",
                mend="choose another with --port, or leave it out for any free one",
            ) from error
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class AirflowSettings:
    """What is particular to one instance.

    Attributes:
        home: AIRFLOW_HOME; made with mode 0700.
        port: of the user interface and REST.
        options: (section, option) → value, beside those every instance gets.
        parallel_tasks: how many tasks may run at once.
        connections: Airflow's connections by id; they reach the components by environment.
        password: of the one user.
    """

    home: Path
    port: int
    options: Mapping[tuple[str, str], str]
    parallel_tasks: int = 4
    connections: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    username: str = "admin"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)

    @property
    def url(self) -> str:
        """The user interface and REST."""
        return f"http://127.0.0.1:{self.port}"


class AirflowInstance:
    """Start with `prepare`, `start` and `wait_healthy`; end with `stop`, whatever happened."""

    def __init__(self, settings: AirflowSettings) -> None:
        self.settings = settings
        self.components: dict[str, Component] = {}
        self._program = Path(sys.prefix) / "bin" / "airflow"

    def prepare(self) -> None:
        """Write the configuration and make the database.

        Raises:
            MissingDependencyError: Airflow is not installed.
            ComponentFailedError: the database could not be made.
        """
        if not self._program.exists():
            raise MissingDependencyError(
                "Apache Airflow is not installed beside this Python",
                mend="pip install 'airflow-provider-lclstream[demo]'",
            )
        home = self.settings.home
        for folder in (home, home / "logs", home / "output", home / "plugins"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        passwords = {self.settings.username: self.settings.password}
        _write_private(home / "passwords.json", json.dumps(passwords))
        _write_private(home / "airflow.cfg", self._configuration())
        _write_private(home / "plugins" / "one_writer.py", one_writer.PLUGIN)
        migration = self._component("migration", ("db", "migrate"))
        try:
            migration.start()
            if migration.wait(MIGRATION_TIMEOUT_SECONDS):
                raise migration.failure("of Airflow's database failed")
        finally:
            migration.stop()
        self._let_readers_and_writers_share()

    def _let_readers_and_writers_share(self) -> None:
        """SQLite's write-ahead log: readers do not block the writer. The file remembers it."""
        with closing(sqlite3.connect(self.settings.home / "airflow.db")) as database:
            database.execute("PRAGMA journal_mode=WAL")

    def start(self) -> None:
        """Start the four components."""
        for name, arguments in COMPONENTS.items():
            self.components[name] = self._component(name, arguments)
            self.components[name].start()

    def check(self) -> None:
        """Raise `ComponentFailedError` if any of the four has ended."""
        for component in self.components.values():
            component.check()

    def wait_healthy(
        self, timeout_seconds: float, on_healthy: Callable[[str], None] = lambda _name: None
    ) -> None:
        """Wait until all four say that they are well; tell each one once.

        Raises:
            ComponentFailedError: one ended, or was not well in time.
        """
        deadline = time.monotonic() + timeout_seconds
        told: set[str] = set()
        while len(told) < len(HEALTH_NAMES):
            self.check()
            healthy = {
                component
                for name, component in HEALTH_NAMES.items()
                if self._health().get(name, {}).get("status") == "healthy"
            }
            for component in sorted(healthy - told):
                on_healthy(component)
            told |= healthy
            missing = sorted(set(HEALTH_NAMES.values()) - told)
            if missing and time.monotonic() > deadline:
                raise self.components[missing[0]].failure(
                    f"of Airflow was not healthy within {timeout_seconds:.0f} s"
                )
            time.sleep(HEALTH_POLL_SECONDS)

    def stop(self) -> None:
        """Stop what was started, the last first; each is told before any is waited for."""
        latest_first = list(reversed(self.components.values()))
        for component in latest_first:
            component.tell_to_stop()
        for component in latest_first:
            component.stop(STOP_TIMEOUT_SECONDS)

    def environment(self) -> dict[str, str]:
        """The environment for any program that should use this instance."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW_", "LCLSTREAM_"))
        }
        return {
            **inherited,
            "AIRFLOW_HOME": str(self.settings.home),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONWARNINGS": "ignore",
            **{
                f"AIRFLOW_CONN_{name.upper()}": json.dumps(connection)
                for name, connection in self.settings.connections.items()
            },
        }

    def _component(self, name: str, arguments: tuple[str, ...]) -> Component:
        return Component(
            name,
            [self._program, *arguments],
            log=self.settings.home / "output" / f"{name}.log",
            environment=self.environment(),
            folder=self.settings.home,
        )

    def _health(self) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.settings.url}/api/v2/monitor/health", timeout=5) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return {}

    def _configuration(self) -> str:
        home, port = self.settings.home, self.settings.port
        options: dict[tuple[str, str], str] = {
            ("core", "dags_folder"): str(dags_folder()),
            ("core", "load_examples"): "False",
            ("core", "executor"): "LocalExecutor",
            ("core", "parallelism"): str(self.settings.parallel_tasks),
            ("core", "max_active_tasks_per_dag"): str(self.settings.parallel_tasks),
            ("core", "dags_are_paused_at_creation"): "False",
            ("core", "simple_auth_manager_users"): f"{self.settings.username}:admin",
            ("core", "simple_auth_manager_passwords_file"): str(home / "passwords.json"),
            ("core", "execution_api_server_url"): f"{self.settings.url}/execution/",
            ("core", "fernet_key"): base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            ("database", "sql_alchemy_conn"): _database_url(home),
            ("logging", "base_log_folder"): str(home / "logs"),
            ("api", "host"): "127.0.0.1",
            ("api", "port"): str(port),
            ("api", "base_url"): self.settings.url,
            ("api", "workers"): "1",
            ("api", "secret_key"): secrets.token_hex(32),
            ("api_auth", "jwt_secret"): secrets.token_hex(32),
            # Two files that never change: parse them once, not all the time.
            ("dag_processor", "refresh_interval"): "600",
            ("dag_processor", "min_file_process_interval"): "600",
            ("dag_processor", "stale_dag_threshold"): "3600",
            ("dag_processor", "parsing_processes"): "1",
            ("usage_data_collection", "enabled"): "False",
            **self.settings.options,
        }
        sections: dict[str, list[str]] = {}
        for (section, option), value in options.items():
            sections.setdefault(section, []).append(f"{option} = {value.replace('%', '%%')}")
        return (
            "\n".join(f"[{name}]\n" + "\n".join(lines) for name, lines in sections.items()) + "\n"
        )


def _database_url(home: Path) -> str:
    # On a busy machine a writer may have to wait longer for the lock than SQLite's five seconds.
    return f"sqlite:///{home / 'airflow.db'}?timeout={LOCK_TIMEOUT_SECONDS}"


def _write_private(path: Path, text: str) -> None:
    """A file that only its owner may read, from its first moment on."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
