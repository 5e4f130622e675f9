"""How quick jobs are: submissions, listings, long-poll, reconciling, `psik reached`.

``python benchmarks/jobs.py [--jobs N] [--psik PROGRAM]`` prints one JSON line per figure. With
``--psik`` the listing of upstream's psik is measured on the same folders.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec
from airflow_provider_lclstream.psik.reconciler import reconcile
from airflow_provider_lclstream.psik.states import JobState
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.psik_api.index import JobIndex

BIN = Path(sys.executable).parent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--psik", type=Path, help="upstream's psik, for comparison")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lclstream-bench-") as folder:
        measure(Path(folder), words.jobs, words.psik)


def measure(folder: Path, count: int, upstream: Path | None) -> None:
    """Fill a store with jobs and time what is done with them."""
    backend = BackendConfig(attributes={"slots": "4"})
    store = JobStore(folder / "jobs", {"default": backend})
    spec = JobSpec(name="bench", script="true")
    seconds = timed(lambda: [store.create(spec) for _ in range(count)])
    tell("creations_per_second", count / seconds)
    index = JobIndex(store)
    tell("first_listing_milliseconds", timed(index.entries) * 1000)
    tell("listing_milliseconds", min(timed(index.entries) for _ in range(5)) * 1000)
    if upstream is not None:
        config = folder / "psik.json"
        config.write_text(json.dumps({"prefix": str(store.prefix)}))
        listing = [str(upstream), "ls", "--config", str(config)]
        tell("upstream_listing_milliseconds", timed(lambda: run(listing)) * 1000)
    jobs = store.jobs()[: min(count, 1000)]
    for job in jobs:
        job.store.get(job.jobid)
    tell("reconcile_milliseconds", timed(lambda: reconcile(jobs)) * 1000)
    some = jobs[:50]
    tell("submissions_per_second", len(some) / timed(lambda: [job.submit() for job in some]))
    while any(job.state() is not JobState.completed for job in some):
        reconcile(some)
        time.sleep(0.05)
    starts = sorted(job.history()[2].time - job.history()[1].time for job in some)
    tell("queued_to_active_milliseconds_best", starts[0] * 1000)
    base = str(store.create(spec).folder)
    reached = [str(BIN / "lclstream"), "psik", "reached", base, "1", "active"]
    bare = min(timed(lambda: run([sys.executable, "-c", "pass"])) for _ in range(5))
    quickest = min(timed(lambda: run(reached)) for _ in range(5))
    tell("reached_milliseconds_beyond_the_interpreter", (quickest - bare) * 1000)


def run(command: list[str]) -> None:
    """Run a program to its end."""
    subprocess.run(command, check=True, capture_output=True, timeout=600)


def timed(work: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def tell(name: str, value: float) -> None:
    """Print one figure."""
    print(json.dumps({"name": name, "value": round(value, 2)}), flush=True)


if __name__ == "__main__":
    main()
