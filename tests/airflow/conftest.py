"""Airflow for tests: a home of its own, made before the first import of Airflow."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(tempfile.mkdtemp(prefix="lclstream-airflow-"))
BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"
BUNDLES = [
    {"name": name, "classpath": BUNDLE, "kwargs": {"path": str(path)}}
    for name, path in (("dags", ROOT / "dags"), ("test-dags", ROOT / "tests" / "airflow" / "dags"))
]
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(BUNDLES),
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW__LCLSTREAM__SITE_FILE": str(HOME / "site.yaml"),
    "AIRFLOW__LCLSTREAM__JOB_POLL_INTERVAL": "0.1",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings that Airflow's own code gives are not ours to mend."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.airflow)
            item.add_marker(pytest.mark.filterwarnings("ignore:::airflow"))


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
