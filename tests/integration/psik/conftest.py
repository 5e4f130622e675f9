"""Stores of real jobs that end with their test."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from iri_double import IriDouble
from sfapi_double import SfapiDouble

from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, JobState
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.sim.slurm_cluster import SlurmCluster, missing_parts

UPSTREAM = [
    pytest.mark.interop,
    pytest.mark.opt_in("LCLSTREAM_UPSTREAM_PSIK_API", what="CHECKOUT_OF_FROBNITZEM_PSIK_API"),
]
"""psik_api 2 is published as sources only."""


def _end_everything(store: JobStore) -> None:
    deadline = time.monotonic() + 20
    jobs = [job for job in store.jobs() if job.pending_attempt() is not None]
    for job in jobs:
        job.cancel("the test is over")
    while any(not job.reconcile().is_final for job in jobs):
        assert time.monotonic() < deadline, "a job outlives its test"
        time.sleep(0.02)


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[Callable[..., JobStore]]:
    """``make_store(slots="2")``: a store with one local backend of these attributes."""
    stores: list[JobStore] = []

    def make(**attributes: str) -> JobStore:
        config = BackendConfig(attributes={"grace_seconds": "2", **attributes})
        stores.append(JobStore(tmp_path / f"jobs{len(stores)}", {"default": config}))
        return stores[-1]

    yield make
    for store in stores:
        _end_everything(store)


@pytest.fixture
def store(make_store: Callable[..., JobStore]) -> JobStore:
    """A store with one local backend."""
    return make_store()


@pytest.fixture
def submit() -> Callable[..., Job]:
    """``submit(store, script, **spec)``: a job that has been handed to its backend."""

    def submit(store: JobStore, script: str, **spec: Any) -> Job:
        job = store.create(JobSpec(script=script, **spec))
        job.submit()
        return job

    return submit


@pytest.fixture
def reach(wait_for: Callable[..., Any]) -> Callable[..., None]:
    """``reach(job, "active")``: reconcile until the job is in a state, or in any final one."""

    def reach(job: Job, state: str = "", timeout_seconds: float = 20) -> None:
        def there() -> bool:
            now = job.reconcile()
            return now.is_final if not state else now is JobState(state)

        wait_for(there, timeout_seconds=timeout_seconds, what=f"{state or 'the end'} of {job}")

    return reach


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A real SLURM of four nodes, private to this test session. Mark the test ``slurm`` too."""
    problem = missing_parts()
    if problem:
        pytest.skip(f"SLURM cannot be started: {problem}")
    with SlurmCluster(4) as cluster:
        yield cluster


@pytest.fixture
def slurm_store(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobStore]:
    """A store with the backend ``default`` on that cluster, in a folder its nodes can see."""
    monkeypatch.setenv("SLURM_CONF", slurm_cluster.environment["SLURM_CONF"])
    config = BackendConfig(type="slurm", queue_name="milano", attributes={"grace_seconds": "1"})
    with tempfile.TemporaryDirectory(prefix="lclstream-jobs-") as folder:
        store = JobStore(Path(folder), {"default": config})
        yield store
        _end_everything(store)


SSHD_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
AcceptEnv SLURM_CONF
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
MaxStartups 200
"""


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real sshd on loopback that lets this user in; gives the ssh command that reaches it."""
    program = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin")
    if program is None:
        pytest.skip("sshd is not here: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host_key", "user_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(port=port, folder=folder))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [program, "-D", "-e", "-f", folder / "sshd_config"],
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield (
            f"ssh -oBatchMode=yes -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null"
            f" -oLogLevel=ERROR -oSendEnv=SLURM_CONF -F none -i {folder}/user_key -p {port}"
        )
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(
    params=["local", pytest.param("slurm", marks=pytest.mark.slurm),
            pytest.param("ssh-slurm", marks=pytest.mark.slurm), "psik", "psik-v3", "psik-v2",
            pytest.param("psik-upstream", marks=UPSTREAM), "iri", "sfapi"]
)  # fmt: skip
def any_store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[JobStore]:
    """A store for each kind of backend in turn."""
    attributes = {"grace_seconds": "2"}
    if request.param in {"slurm", "ssh-slurm"}:
        cluster: SlurmCluster = request.getfixturevalue("slurm_cluster")
        monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    if request.param == "ssh-slurm":
        attributes |= {"host": "root@127.0.0.1", "ssh": request.getfixturevalue("sshd")}
    kind, _, dialect = request.param.partition("-")
    if kind == "psik":
        is_theirs = dialect == "upstream"
        service = request.getfixturevalue("upstream_psik_api" if is_theirs else "remote_service")
        attributes |= {"remote_url": service}
        attributes |= {"dialect": dialect} if dialect and not is_theirs else {}
    if request.param in {"iri", "sfapi"}:
        double = request.getfixturevalue(request.param)
        attributes |= request.getfixturevalue("reach_double")(double)
    kind = kind if kind == "psik" else request.param
    config = BackendConfig(type=kind, attributes=attributes)
    with tempfile.TemporaryDirectory(prefix="lclstream-jobs-") as folder:
        store = JobStore(Path(folder), {"default": config})
        yield store
        _end_everything(store)


@pytest.fixture
def iri() -> Iterator[IriDouble]:
    """A double of an IRI facility."""
    with IriDouble() as double:
        yield double


@pytest.fixture
def sfapi() -> Iterator[SfapiDouble]:
    """A double of NERSC's Superfacility API."""
    with SfapiDouble() as double:
        yield double


@pytest.fixture
def reach_double(tmp_path: Path) -> Callable[[IriDouble | SfapiDouble], dict[str, str]]:
    """``reach_double(double)``: the attributes of a backend that talks to it."""

    def reach(double: IriDouble | SfapiDouble) -> dict[str, str]:
        secret = tmp_path / "secret"
        secret.touch(mode=0o600)
        if isinstance(double, IriDouble):
            secret.write_text(double.token)
            return {"url": double.url, "resource": double.resource, "token_file": str(secret)}
        secret.write_text(double.key_pem)
        return {
            "url": f"{double.url}/api/v1.2",
            "token_url": f"{double.url}/c2id/token",
            "key_file": str(secret),
            "--constraint": "cpu",
        }

    return reach


@pytest.fixture
def remote_service(processes: Any, wait_for: Callable[..., Any]) -> Iterator[str]:
    """Another Psik-API service of ours, on loopback; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="lclstream-remote-") as folder:
        config = Path(folder) / "psik.json"
        config.write_text(json.dumps({"prefix": f"{folder}/jobs"}))
        running = processes.start(
            ["lclstream", "psik", "serve", "http://127.0.0.1:0", "--config", config,
             "--loopback-caller", "us"]
        )  # fmt: skip
        wait_for(lambda: "listening" in running.stdout or running.process.poll() is not None)
        assert running.process.poll() is None, running.stderr
        yield json.loads(running.stdout.splitlines()[0])["listening"]
        running.stop()
        _end_everything(JobStore(Path(folder) / "jobs"))


@pytest.fixture(scope="session")
def upstream_python(repository: Path, require: Any) -> Path:
    """A Python with upstream's psik_api 2 and the psik it wants; installed on first use."""
    require(shutil.which("rc"), "psik 2 wants Plan 9's shell: apt-get install rc")
    source = Path(os.environ["LCLSTREAM_UPSTREAM_PSIK_API"]).resolve()
    folder = repository / ".cache" / "psik_api-2"
    python, uv = folder / "bin" / "python", str(repository / "tools" / "uv")
    if not (folder / "bin" / "psik").exists():
        # Its own requirements also name older pieces of what they need; `certified` brings httpx.
        for words in (
            ["venv", "--quiet", "--allow-existing", str(folder)],
            ["pip", "install", "--quiet", "--python", str(python), str(source)],
        ):
            done = subprocess.run([uv, *words], capture_output=True, text=True, check=False)
            require(done.returncode == 0, f"psik_api cannot be installed: {done.stderr[-300:]}")
    return python


@pytest.fixture
def upstream_psik_api(
    upstream_python: Path, processes: Any, wait_for: Callable[..., Any], free_port: Any
) -> Iterator[str]:
    """Upstream's psik_api on loopback; gives its URL."""
    source, port = Path(os.environ["LCLSTREAM_UPSTREAM_PSIK_API"]).resolve(), free_port()
    with tempfile.TemporaryDirectory(prefix="upstream-psik-") as folder:
        config = Path(folder) / "psik_api.json"
        psik = str(upstream_python.with_name("psik"))
        config.write_text(json.dumps(
            {"prefix": f"{folder}/jobs", "psik_path": psik, "authz": "local",
             "backends": {"default": {"type": "local"}}}
        ))  # fmt: skip
        running = processes.start(
            [upstream_python, "-m", "uvicorn", "psik_api.main:app", "--port", str(port)],
            # What is installed of it lacks its routers.
            environment={"PSIK_API_CONFIG": str(config), "PYTHONPATH": str(source),
                         "VIRTUAL_ENV": ""},
        )  # fmt: skip
        wait_for(lambda: "running on" in running.stderr or running.process.poll() is not None)
        assert running.process.poll() is None, running.stderr
        yield f"http://127.0.0.1:{port}"
        running.stop()
