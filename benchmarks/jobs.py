"""How quick jobs are, beside upstream's psik on the same folders and the same interpreter.

    .venv/bin/python benchmarks/jobs.py [--jobs 10000] [--rounds 10] [--psik PROGRAM] [--json]

- Whole commands, ours and psik's in turn, the best of the rounds: `ls` of many jobs, `reached`
  (which every job script calls), `run` until it returns, and from the start of `run` to the
  first line of the job's script.
- What upstream has no like of: a service's list of the same jobs, submissions a second through
  its API over 8 connections, the time from a state's writing to the long-poll's answer, and one
  round of the reconciler over 1,000 SLURM jobs (against a `squeue` that only prints, so this is
  our part of the work).

Without ``--psik``, psik 3.1.1 is installed into ``.cache/`` as the interoperation tests do it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.reconciler import reconcile
from airflow_provider_lclstream.psik.states import JobState
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.sim.ended_jobs import fill

BIN = Path(sys.executable).parent
OURS = (str(BIN / "lclstream"), "psik")
CACHED = Path(__file__).parents[1] / ".cache" / "psik-3.1.1"
SUBMITTED, CLIENTS, WAKINGS, RECONCILED = 400, 8, 20, 1000
TIMEOUT_SECONDS = 120
SBATCH = """
number=$(($(wc -l < {queue}) + 1))
for word; do case $word in --comment=*) comment=${{word#--comment=}};; esac; done
echo "$number|RUNNING|None|$comment" >> {queue}
echo $number"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--psik", type=Path, help="upstream's program")
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lclstream-bench-") as name:
        folder = Path(name)
        print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", file=sys.stderr)
        pairs = compare(folder, words.psik or upstream_psik(), words.jobs, words.rounds)
        alone = dict(measure_service(folder, words.jobs)) | {
            f"reconcile {RECONCILED} SLURM jobs, ms": reconcile_slurm(folder)
        }
    if words.json:
        print(json.dumps({"milliseconds": pairs, "alone": alone}, indent=1))
        return
    print(f"{'whole command, milliseconds':36}{'ours':>10}{'psik':>10}{'ratio':>8}")
    for what, (ours, theirs) in pairs.items():
        print(f"{what:36}{ours:>10.0f}{theirs:>10.0f}{theirs / ours:>8.1f}")
    for what, value in alone.items():
        print(f"{what:36}{value:>10.1f}")


def upstream_psik() -> Path:
    """Upstream's program, installed on first use, for the interpreter that runs this."""
    program = CACHED / "bin" / "psik"
    if not program.exists():
        uv = str(CACHED.parents[1] / "tools" / "uv")
        python = str(CACHED / "bin" / "python")
        run([uv, "venv", "--quiet", "--python", sys.executable, str(CACHED)])
        run([uv, "pip", "install", "--quiet", "--python", python, "psik==3.1.1"])
    return program


def compare(folder: Path, psik: Path, count: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Our commands and upstream's in turn: the best of each, in milliseconds."""
    configs: dict[tuple[str, ...], Path] = {}
    for program in (OURS, (str(psik),)):
        prefix = folder / f"jobs{len(configs)}"
        prefix.mkdir()
        configs[program] = folder / f"psik{len(configs)}.json"
        backends = {"default": {"type": "local"}}
        configs[program].write_text(json.dumps({"prefix": str(prefix), "backends": backends}))
    listed = folder / "listed"
    fill(listed, count)
    list_config = folder / "listed.json"
    list_config.write_text(json.dumps({"prefix": str(listed)}))

    def ls(program: tuple[str, ...]) -> float:
        return timed([*program, "ls", "--config", str(list_config)])

    def reached(program: tuple[str, ...]) -> float:
        job = JobStore(folder / "reached").create(JobSpec(script="true"))
        return timed([*program, "reached", str(job.folder), "1", "active"])

    marks: list[float] = []

    def submit(program: tuple[str, ...]) -> float:
        mark, spec = folder / f"mark{len(marks)}", folder / "spec.json"
        spec.write_text(json.dumps({"script": f"#!/bin/sh\ndate +%s.%N > {mark}\n"}))
        began = time.time()
        seconds = timed([*program, "run", str(spec), "--config", str(configs[program])])
        await_that(lambda: mark.exists() and mark.stat().st_size > 0)
        marks.append(float(mark.read_text()) - began)
        return seconds

    def first_line(program: tuple[str, ...]) -> float:
        submit(program)
        return marks[-1]

    works: dict[str, Callable[[tuple[str, ...]], float]] = {
        f"ls of {count} jobs": ls,
        "reached": reached,
        "run, until it returns": submit,
        "run, until the script runs": first_line,
    }
    return {what: in_turn(work, OURS, (str(psik),), rounds) for what, work in works.items()}


def in_turn(
    work: Callable[[tuple[str, ...]], float],
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    rounds: int,
) -> tuple[float, float]:
    """The best time of either, in milliseconds; they take turns, so that load meets both."""
    times = [(work(ours), work(theirs)) for _ in range(rounds)]
    return min(own for own, _ in times) * 1000, min(other for _, other in times) * 1000


@contextmanager
def service(folder: Path) -> Generator[str]:
    """Our service over the folder ``listed``; its URL."""
    config = folder / "served.json"
    config.write_text(
        json.dumps({
            "prefix": str(folder / "listed"),
            "backends": {"default": {"attributes": {"slots": "1"}}},
            "policy": {"rules": [{"who": ["*"], "max_unfinished": 100_000}]},
        })
    )  # fmt: skip
    words = [*OURS, "serve", "http://127.0.0.1:0", "--config", str(config)]
    with subprocess.Popen(
        [*words, "--loopback-caller", "bench"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["listening"]
        finally:
            process.terminate()


def measure_service(folder: Path, count: int) -> Iterator[tuple[str, float]]:
    """What the service does with as many jobs in its folder."""
    with service(folder) as url, httpx2.Client(base_url=url, timeout=60, trust_env=False) as http:
        await_that(lambda: answers(http))
        times: list[float] = []
        for _ in range(5):
            began = time.perf_counter()
            http.get("/v4/jobs", params={"limit": min(count, 10_000)}).raise_for_status()
            times.append(time.perf_counter() - began)
        yield f"the service lists {count} jobs, ms", min(times) * 1000
        yield "submissions a second, 8 clients", submissions(url)
        yield "long-poll wakes after, ms (median)", wakings(http, folder / "listed")


def answers(http: httpx2.Client) -> bool:
    """Whether the service answers yet."""
    try:
        return http.get("/healthz").status_code == 200
    except httpx2.HTTPError:
        return False


def submissions(url: str) -> float:
    """Submissions a second."""

    def submit(_: int) -> None:
        with httpx2.Client(base_url=url, timeout=60, trust_env=False) as own:
            for _ in range(SUBMITTED // CLIENTS):
                own.post("/v4/jobs", json={"script": "true"}).raise_for_status()

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(submit, range(CLIENTS)))
    return SUBMITTED / (time.perf_counter() - began)


def wakings(http: httpx2.Client, prefix: Path) -> float:
    """Milliseconds from the state's time in the job's folder to the answer of a long-poll."""
    late: list[float] = []
    for _ in range(WAKINGS):
        answer = http.post("/v4/jobs", json={"script": "true"}, params={"submit": False})
        jobid = answer.raise_for_status().json()["jobid"]
        job = JobStore(prefix).get(jobid)
        write = threading.Timer(0.3, job.cancel)
        write.start()
        http.get(f"/v4/jobs/{jobid}", params={"after": 1, "wait": 30}).raise_for_status()
        late.append(time.time() - job.history()[-1].time)
        write.join()
    return statistics.median(late) * 1000


def reconcile_slurm(folder: Path) -> float:
    """One round over running SLURM jobs, in milliseconds; squeue is a file that is printed."""
    programs = folder / "slurm"
    programs.mkdir()
    queue = programs / "queue"
    queue.touch()
    double(programs / "squeue", f"cat {queue}")
    double(programs / "sbatch", SBATCH.format(queue=queue))
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    store = JobStore(folder / "slurm-jobs", {"default": BackendConfig(type="slurm")})
    spec = JobSpec(script="true")
    jobs = [store.create(spec) for _ in range(RECONCILED)]
    for job in jobs:
        job.submit()
    reconcile(jobs)
    assert {job.state() for job in jobs} == {JobState.active}, jobs[0].history()
    times: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        reconcile(jobs)
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def double(path: Path, body: str) -> None:
    """A program that stands for one of SLURM's."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def run(command: list[str]) -> Any:
    """Run a program to its end."""
    return subprocess.run(command, check=True, capture_output=True, timeout=600)


def timed(command: list[str]) -> float:
    """How long a command takes, in seconds."""
    began = time.perf_counter()
    run(command)
    return time.perf_counter() - began


def await_that(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"gave up after {TIMEOUT_SECONDS} s: {is_so}")
        time.sleep(0.002)


if __name__ == "__main__":
    main()
