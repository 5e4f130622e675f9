"""Airflow for tests: a home of its own, made before the first import of Airflow."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(tempfile.mkdtemp(prefix="lclstream-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"
BUNDLES = [
    {"name": name, "classpath": BUNDLE, "kwargs": {"path": str(path)}}
    for name, path in (
        ("dags", ROOT / "dags"),
        ("test-dags", ROOT / "tests" / "airflow" / "dags"),
        ("examples", ROOT / "docs" / "examples"),
    )
]
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(BUNDLES),
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "arp:op,guest:viewer",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(HOME / "passwords.json"),
    "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of the tests, long enough for its purpose " * 2,
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW__LCLSTREAM__SITE_FILE": str(HOME / "site.yaml"),
    "AIRFLOW__LCLSTREAM__JOB_POLL_INTERVAL": "0.1",
    "AIRFLOW__LCLSTREAM__LEAST_DEFERRAL": "0",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings that Airflow's own code gives are not ours to mend."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.airflow)
            item.add_marker(pytest.mark.filterwarnings("ignore:::airflow"))
            # Airflow's models of replies have deprecated fields, which pydantic reads.
            item.add_marker(pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"))


@pytest.fixture(scope="session")
def site() -> Iterator[Path]:
    """A site of this machine alone; gives the folder of its jobs, which all have ended after."""
    from airflow_provider_lclstream.psik.store import JobStore

    prefix = HOME / "jobs"
    document = {"psik": {"prefix": str(prefix), "backends": {"local": {"type": "local"}}}}
    (HOME / "site.yaml").write_text(yaml.safe_dump(document))
    yield prefix
    for job in JobStore(prefix).jobs():
        job.cancel()


@dataclass
class Place:
    """Where jobs are kept.

    Attributes:
        conn_id: the Airflow connection to it.
        prefix: the folder of the jobs.
        url: the service in front of it; empty where there is none.
        process: that service's.
        restart: start it again, at the same address.
    """

    conn_id: str
    prefix: Path
    url: str = ""
    process: Any = None
    restart: Callable[[], None] = lambda: None


@pytest.fixture(scope="session")
def folder_place(site: Path) -> Place:
    """The folder of jobs that the site settings name."""
    return Place("psik_default", site)


@pytest.fixture
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Place]]:
    """``serve(policy={...})``: a job service of its own for one test."""
    with contextlib.ExitStack() as stack:

        def start(url: str = "http://127.0.0.1:0", **settings: Any) -> Place:
            folder = tmp_path_factory.mktemp("service")
            return stack.enter_context(_served(folder, url, settings))

        yield start


@pytest.fixture(scope="session")
def service_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A job service in a process of its own, the same for all tests."""
    with _served(tmp_path_factory.mktemp("service"), "http://127.0.0.1:0", {}) as place:
        yield place


@pytest.fixture(params=["folder", "service"])
def place(request: pytest.FixtureRequest) -> Place:
    """Both places where jobs may be kept, one after the other."""
    return request.getfixturevalue(f"{request.param}_place")


@contextlib.contextmanager
def _served(folder: Path, url: str, settings: Mapping[str, Any]) -> Iterator[Place]:
    """A job service whose caller is Airflow, and an Airflow connection to it."""
    from airflow_provider_lclstream.psik.store import JobStore

    place = Place(folder.name.replace("-", "_"), folder / "jobs")
    backends = {"local": {"type": "local", "attributes": {"grace_seconds": "2"}}}
    document = {"prefix": str(place.prefix), "backends": backends, **settings}
    (folder / "psik.json").write_text(json.dumps(document))
    words = [Path(sys.executable).parent / "lclstream", "psik", "serve"]
    options = ["--config", folder / "psik.json", "--loopback-caller", "airflow"]
    processes: list[subprocess.Popen[str]] = []

    def start() -> None:
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*words, place.url or url, *options], stdout=subprocess.PIPE, stderr=log, text=True
            )
        processes.append(process)
        place.process, place.url = process, json.loads(process.stdout.readline())["listening"]

    place.restart = start
    variable = f"AIRFLOW_CONN_{place.conn_id.upper()}"
    try:
        start()
        os.environ[variable] = json.dumps({"conn_type": "psik", "host": place.url})
        yield place
    finally:
        os.environ.pop(variable, None)
        for process in processes:
            process.terminate()
            process.wait(20)
            process.stdout.close()
        for job in JobStore(place.prefix).jobs():
            job.cancel()


@pytest.fixture(scope="session")
def airflow_db(site: Path) -> Path:
    """A migrated metadata database in SQLite; gives Airflow's home."""
    from airflow.utils.db import initdb

    initdb()
    return HOME


@dataclass
class DagRunEnd:
    """How a DAG run under `dag.test` ended.

    Attributes:
        state: of the run.
        states: task id → state.
        xcoms: (task id, key) → value, as tasks pushed it.
        log: what tasks and triggers logged.
    """

    state: str
    states: dict[str, str]
    xcoms: dict[tuple[str, str], Any]
    log: str


@pytest.fixture
def run_dag(
    airflow_db: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Callable[..., DagRunEnd]:
    """``run_dag(dag_id, {conf})``: run a DAG of this repository or of these tests to its end."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    def run(dag_id: str, conf: Mapping[str, Any] | None = None) -> DagRunEnd:
        for bundle in BUNDLES:
            bag = DagBag(dag_folder=bundle["kwargs"]["path"])
            assert bag.import_errors == {}
            if dag_id in bag.dags:
                break
        dag_run = bag.dags[dag_id].test(run_conf=dict(conf or {}))
        with create_session() as session:
            rows = session.query(XComModel).filter_by(dag_id=dag_id, run_id=dag_run.run_id).all()
            xcoms = {(row.task_id, row.key): row.value for row in rows}
        out, err = capfd.readouterr()
        states = {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()}
        return DagRunEnd(str(dag_run.state), states, xcoms, out + err + caplog.text)

    return run


@dataclass
class Api:
    """Airflow's API server inside this process, over a real socket.

    Attributes:
        url: its address.
        passwords: user → password; ``arp`` may start DAG runs, ``guest`` may only look.
    """

    url: str
    passwords: dict[str, str]

    def token(self, user: str) -> str:
        """A token for a user."""
        answer = self.request(
            "POST", "/auth/token", {"username": user, "password": self.passwords[user]}
        )
        return json.loads(answer[1])["access_token"]

    def request(
        self, method: str, path: str, body: Any = None, *, token: str = ""
    ) -> tuple[int, str]:
        """One request; gives status and text."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {token}"} if token else {}),
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture(scope="session")
def make_api() -> type[Api]:
    """``make_api(url, passwords)``: the same for any Airflow."""
    return Api


@pytest.fixture(scope="session")
def bundles() -> list[dict[str, Any]]:
    """Where Airflow finds this repository's DAGs and those of the tests."""
    return BUNDLES


@pytest.fixture(scope="session")
def api(airflow_db: Path) -> Iterator[Api]:
    """Airflow's API server with this repository's DAGs, and no scheduler behind it."""
    import uvicorn
    from airflow.api_fastapi.app import create_app
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    passwords = {"arp": "arp-password", "guest": "guest-password"}
    (HOME / "passwords.json").write_text(json.dumps(passwords))
    manager = DagBundlesManager()
    manager.sync_bundles_to_db()
    for bundle in manager.get_all_dag_bundles():
        bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        assert bag.import_errors == {}
        sync_bag_to_db(bag, bundle.name, None)
    config = uvicorn.Config(create_app(), host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the API server did not start"
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Api(f"http://127.0.0.1:{port}", passwords)
    server.should_exit = True
    thread.join(20)
