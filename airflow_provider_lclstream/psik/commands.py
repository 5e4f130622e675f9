"""The verbs of ``lclstream psik``, for people (tables) and programs (``--json``)."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from airflow_provider_lclstream.psik.config import find_config
from airflow_provider_lclstream.psik.files import files
from airflow_provider_lclstream.psik.job import Job
from airflow_provider_lclstream.psik.models import JobSpec, JobState
from airflow_provider_lclstream.psik.reconciler import reconcile
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.psik.summary import describe, row_facts, select, summarize
from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.config_file import load_model, parse_model
from lclstreamer.core.errors import TemporaryError
from lclstreamer.core.output import note, print_json

app = new_app("Jobs as folders: run them, watch them, cancel them.")

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The file psik.json; else $PSIK_CONFIG and the usual places."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
JobIds = Annotated[list[str], typer.Argument(metavar="JOBID...", help="The jobs' ids.")]
JobId = Annotated[str, typer.Argument(metavar="JOBID", help="The job's id.")]
POLL_SECONDS = 0.1


def run_words(words: list[str]) -> int:
    """Run ``lclstream psik`` with these words and return the exit code."""
    return run_app(app, words, "lclstream psik")


def _store(config: Path | None) -> JobStore:
    return JobStore.from_config(find_config(config))


@app.command()
def run(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC", help="A JobSpec, YAML or JSON; - reads it.")
    ],
    *,
    config: Config = None,
    submit: Annotated[bool, typer.Option(help="Submit it at once.")] = True,
    here: Annotated[bool, typer.Option("--here", help="Run in the present folder.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended.")] = False,
    key: Annotated[str | None, typer.Option(help="The same key gives the same job.")] = None,
    timeout: Annotated[float, typer.Option(help="Longest --wait, in seconds.")] = 7 * 86400.0,
    as_json: AsJson = False,
) -> None:
    """Make a job from a specification, and submit it."""
    if spec == "-":
        parsed = parse_model(sys.stdin.read(), JobSpec, name="<standard input>")
    else:
        parsed = load_model(spec, JobSpec)
    if here:
        parsed = parsed.model_copy(update={"directory": str(Path.cwd())})
    job = _store(config).create(parsed, idempotency_key=key)
    if submit:
        job.submit()
    code = _exit_code(job, _wait_for_end(job, timeout)) if wait else 0
    if as_json:
        print_json(describe(job))
    elif wait:
        _print_table([summarize(job)])
    else:
        sys.stdout.write(job.jobid + "\n")
        note(f"{job.state()} in {job.folder}")
    raise typer.Exit(code)


app.command(name="submit", help="The same as `run`.")(run)


@app.command()
def ls(
    *,
    config: Config = None,
    state: Annotated[list[JobState] | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the jobs, the newest first."""
    store = _store(config)
    jobs = list(select(store.jobs(), (), limit) if not state else store.jobs())
    _tell_problems(reconcile(jobs).problems)
    rows = [summarize(job) for job in select(jobs, state or (), limit)]
    if as_json:
        print_json(rows)
    else:
        _print_table(rows)


@app.command()
def status(jobids: JobIds, *, config: Config = None, as_json: AsJson = False) -> None:
    """Make sure of the state of jobs and show their histories."""
    store = _store(config)
    jobs = [store.get(jobid) for jobid in jobids]
    _tell_problems(reconcile(jobs).problems)
    if as_json:
        print_json([describe(job) for job in jobs])
        return
    for job in jobs:
        facts = describe(job)
        sys.stdout.write(f"{job.jobid}  {facts['name']}\n  folder: {facts['folder']}\n")
        for row in facts["history"]:
            sys.stdout.write(
                f"  {_clock(row['time'])}  {row['jobndx']:>3}  {row['state']:<9}  {row['info']}\n"
            )


app.command(name="poll", help="The same as `status`.")(status)


@app.command()
def cancel(
    jobids: JobIds,
    *,
    config: Config = None,
    wait: Annotated[float, typer.Option(help="Wait for the end, at most so long; seconds.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """End jobs, queued or active. One that has ended stays as it ended."""
    store = _store(config)
    jobs = [store.get(jobid) for jobid in jobids]
    for job in jobs:
        job.cancel()
    for job in jobs:
        _wait_for_end(job, wait)
    _show(jobs, as_json=as_json)


@app.command()
def start(jobids: JobIds, *, config: Config = None, as_json: AsJson = False) -> None:
    """Start another attempt of jobs that have ended, or the first of new ones."""
    store = _store(config)
    jobs = [store.get(jobid) for jobid in jobids]
    for job in jobs:
        job.reconcile()
        job.start()
    _show(jobs, as_json=as_json)


@app.command()
def watch(
    jobid: JobId,
    *,
    config: Config = None,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = 7 * 86400.0,
    as_json: AsJson = False,
) -> None:
    """Show each state of a job as it is reached; the exit code is the job's."""
    job, shown = _store(config).get(jobid), 0
    deadline = time.monotonic() + timeout
    while True:
        state = job.reconcile()
        history = job.history()
        for row in history[shown:]:
            facts = row_facts(row)
            line = f"{_clock(row.time)}  {row.jobndx:>3}  {row.state:<9}  {facts['info']}"
            print_json(facts) if as_json else sys.stdout.write(line + "\n")
        shown = len(history)
        if state.is_final or state is JobState.new:
            raise typer.Exit(_exit_code(job, state))
        _pause(deadline, timeout)


@app.command()
def logs(
    jobid: JobId,
    name: Annotated[
        str | None, typer.Argument(help="Which log; by default the newest stdout.")
    ] = None,
    *,
    config: Config = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the job ends.")
    ] = False,
    tail: Annotated[int | None, typer.Option(min=0, help="Only the last so many bytes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a log of a job."""
    job = _store(config).get(jobid)
    if as_json:
        print_json({each: job.log(each) for each in ([name] if name else job.log_names())})
        return
    chosen = name or f"stdout.{max(job.last().jobndx, 1)}"
    offset = 0
    if chosen in job.log_names() or not follow:
        size = (job.folder / "log" / chosen).stat().st_size if chosen in job.log_names() else 0
        offset = max(0, size - tail) if tail is not None else 0
    while True:
        is_over = not follow or job.reconcile() not in {JobState.queued, JobState.active}
        if chosen in job.log_names() or is_over:
            piece = job.read_log(chosen, offset, None)
            offset += len(piece)
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        if is_over:
            return
        time.sleep(POLL_SECONDS)


app.command()(files)


@app.command()
def rm(jobids: JobIds, *, config: Config = None) -> None:
    """Delete jobs that have ended, with everything in their folders."""
    store = _store(config)
    for jobid in jobids:
        store.remove(jobid)
        note(f"removed {jobid}")


@app.command()
def backends(*, config: Config = None, as_json: AsJson = False) -> None:
    """List the configured backends, and whether their settings are sound."""
    store = _store(config)
    rows: list[dict[str, Any]] = []
    for name, backend in sorted(store.backends.items()):
        store.backend(name)
        rows.append({"name": name, "type": backend.type, "queue_name": backend.queue_name or ""})
    if as_json:
        print_json({"prefix": str(store.prefix), "backends": rows})
        return
    for row in rows:
        sys.stdout.write(f"{row['name']:<20} {row['type']:<12} {row['queue_name']}\n")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a JobSpec."""
    sys.stdout.write(json.dumps(JobSpec.model_json_schema(), indent=2) + "\n")


def _show(jobs: list[Job], *, as_json: bool) -> None:
    rows = [summarize(job) for job in jobs]
    if as_json:
        print_json(rows)
    else:
        _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    sys.stdout.write(f"{'jobid':<21} {'state':<9} {'ndx':>3} {'updated':<19} {'name':<20} info\n")
    for row in rows:
        sys.stdout.write(
            f"{row['jobid']:<21} {row['state']:<9} {row['jobndx']:>3} "
            f"{_clock(row['updated']):<19} {row['name'][:20]:<20} {row['info'] or row['remark']}\n"
        )


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _wait_for_end(job: Job, timeout_seconds: float) -> JobState:
    deadline = time.monotonic() + timeout_seconds
    while not (state := job.reconcile()).is_final and timeout_seconds:
        _pause(deadline, timeout_seconds)
    return state


def _pause(deadline: float, timeout_seconds: float) -> None:
    if time.monotonic() >= deadline:
        raise TemporaryError(
            f"the job did not end within {timeout_seconds:g} s",
            mend="look at its log, wait longer, or cancel it",
        )
    time.sleep(POLL_SECONDS)


def _exit_code(job: Job, state: JobState) -> int:
    if state in {JobState.completed, JobState.new}:
        return 0
    code = (job.result() or {}).get("exit_code")
    return code if isinstance(code, int) and 0 < code < 256 else 1


def _tell_problems(problems: list[str]) -> None:
    for problem in problems:
        note(f"warning: {problem}")
