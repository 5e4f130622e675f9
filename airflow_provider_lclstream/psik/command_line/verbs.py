"""The verbs of ``lclstream psik``, for people (tables) and programs (``--json``).

They are the same for jobs in a folder and for those of a service.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_provider_lclstream.psik.command_line.files import files
from airflow_provider_lclstream.psik.command_line.following import follow_output, logs, watch
from airflow_provider_lclstream.psik.command_line.options import (
    AsJson,
    Config,
    Identity,
    JobIds,
    Service,
    open_access,
)
from airflow_provider_lclstream.psik.command_line.patience import Patience, exit_code
from airflow_provider_lclstream.psik.command_line.tables import (
    history_line,
    place_of,
    show_backends,
    show_lines,
)
from airflow_provider_lclstream.psik.states import JobState
from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.errors import BadInputError
from lclstreamer.core.output import note, print_json

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.access.base import JobAccess
    from airflow_provider_lclstream.psik.facts import JobFacts
    from airflow_provider_lclstream.psik.models import JobSpec

app = new_app(
    "Jobs as folders, here or on a service: run them, watch them, cancel them.",
    # Answered by `psik.cli`: they load nothing of this.
    epilog="\b\nserve     Offer jobs to others over HTTPS."
    "\nreached   Record a state of a job; for its script.",
)


def run_words(words: list[str]) -> int:
    """Run ``lclstream psik`` with these words and return the exit code."""
    return run_app(app, words, "lclstream psik")


@app.command()
def run(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="SPEC",
            help="A JobSpec (YAML or JSON), or a script that begins with #!; - reads it.",
        ),
    ],
    *,
    config: Config = None,
    service: Service = None,
    identity: Identity = None,
    backend: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where to run it, whatever SPEC says.")
    ] = None,
    submit: Annotated[bool, typer.Option(help="Submit it at once.")] = True,
    here: Annotated[bool, typer.Option("--here", help="Run in the present folder.")] = False,
    file: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="Put it into the job's directory first."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until it has ended. Ctrl-C lets it run on.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Wait, and show what it prints meanwhile.")
    ] = False,
    key: Annotated[str | None, typer.Option(help="The same key gives the same job.")] = None,
    timeout: Annotated[float, typer.Option(help="Longest --wait, in seconds.")] = 7 * 86400.0,
    as_json: AsJson = False,
) -> None:
    """Make a job from a specification or a script, and submit it."""
    parsed = _read_spec(spec, {"directory": str(Path.cwd()) if here else None, "backend": backend})
    access = open_access(config, service, identity)
    facts = _make(access, parsed, key, file or [], submit=submit)
    _require_taken(facts)
    wait = wait or follow
    if wait and submit:
        note(f"{facts.state} in {access.where}: job {facts.jobid}")
        patience = Patience(access, timeout)
        if follow and not as_json:
            follow_output(access, patience, facts)
        facts = patience.end(facts)
    if as_json:
        print_json(facts.model_dump(mode="json"))
    elif wait:
        show_lines([facts], as_json=False)
        if facts.state is JobState.failed:
            note(f"`lclstream psik logs {facts.jobid} stderr` prints its complaints")
    else:
        sys.stdout.write(facts.jobid + "\n")
        note(f"{facts.state}, {place_of(access.where, facts.jobid)}")
    raise typer.Exit(exit_code(facts) if wait else 0)


app.command(name="submit", help="The same as `run`.")(run)


@app.command()
def ls(
    *,
    config: Config = None,
    service: Service = None,
    identity: Identity = None,
    state: Annotated[list[JobState] | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the jobs, the newest first."""
    access = open_access(config, service, identity)
    lines = access.lines(state or (), limit)
    if not lines:
        note(f"no such jobs in {access.where}")
    show_lines(lines, as_json=as_json)


@app.command()
def status(
    jobids: JobIds,
    *,
    config: Config = None,
    service: Service = None,
    identity: Identity = None,
    as_json: AsJson = False,
) -> None:
    """Make sure of the state of jobs and show their histories."""
    access = open_access(config, service, identity)
    found = access.look_all(jobids)
    if as_json:
        print_json([facts.model_dump(mode="json") for facts in found])
        return
    for facts in found:
        place = f"{place_of(access.where, facts.jobid)}, backend: {facts.backend}"
        rows = "".join(f"  {history_line(row)}\n" for row in facts.history)
        remark = f"  {facts.remark}\n" if facts.remark else ""
        sys.stdout.write(f"{facts.jobid}  {facts.name}\n  {place}\n{rows}{remark}")


app.command(name="poll", help="The same as `status`.")(status)


@app.command()
def cancel(
    jobids: JobIds,
    *,
    config: Config = None,
    service: Service = None,
    identity: Identity = None,
    wait: Annotated[float, typer.Option(help="Wait for the end, at most so long; seconds.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """End jobs, queued or active. One that has ended stays as it ended."""
    access = open_access(config, service, identity)
    found = [access.cancel(jobid) for jobid in jobids]
    if wait:
        patience = Patience(access, wait)
        found = [patience.end(facts) for facts in found]
    show_lines(found, as_json=as_json)


@app.command()
def start(
    jobids: JobIds,
    *,
    config: Config = None,
    service: Service = None,
    identity: Identity = None,
    as_json: AsJson = False,
) -> None:
    """Start another attempt of jobs that have ended, or the first of new ones."""
    access = open_access(config, service, identity)
    show_lines([access.start(jobid) for jobid in jobids], as_json=as_json)


app.command()(watch)
app.command()(logs)
app.command()(files)


@app.command()
def rm(
    jobids: JobIds, *, config: Config = None, service: Service = None, identity: Identity = None
) -> None:
    """Delete jobs that have ended, with everything in their folders."""
    access = open_access(config, service, identity)
    for jobid in jobids:
        access.remove(jobid)
        note(f"removed {jobid}")


@app.command()
def backends(
    *,
    config: Config = None,
    service: Service = None,
    identity: Identity = None,
    as_json: AsJson = False,
) -> None:
    """List the backends that jobs may be submitted to, and whether their settings are sound."""
    access = open_access(config, service, identity)
    found = access.backends()
    if as_json:
        rows = [each.model_dump(mode="json") for each in found]
        print_json({"where": access.where, "backends": rows})
    else:
        show_backends(found)
        if not found:
            note(f"you may not submit to any backend of {access.where}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a JobSpec."""
    from airflow_provider_lclstream.psik.models import JobSpec

    sys.stdout.write(json.dumps(JobSpec.model_json_schema(), indent=2) + "\n")


def _read_spec(place: str, given: dict[str, str | None]) -> JobSpec:
    """A specification, or that of a script, with what the command line says otherwise."""
    from airflow_provider_lclstream.psik.models import JobSpec
    from lclstreamer.core.config_file import Document, parse_document, read_text, validate_document

    name = "<standard input>" if place == "-" else place
    content = sys.stdin.read() if place == "-" else read_text(place)
    if content.startswith("#!"):
        title = "script" if place == "-" else Path(place).name
        document = Document(name, {"name": title, "script": content})
    else:
        document = parse_document(content, name=name)
    if isinstance(document.data, dict):
        document.data |= {key: value for key, value in given.items() if value is not None}
    return validate_document(document, JobSpec)


def _make(
    access: JobAccess, spec: JobSpec, key: str | None, files: list[Path], *, submit: bool
) -> JobFacts:
    """Make a job, and submit it once its files are there. One that is there already has them."""
    facts = access.create(spec, idempotency_key=key, submit=submit and not files)
    if not files or facts.state is not JobState.new:
        return facts
    for path in files:
        access.write_file(facts.jobid, path.name, path.read_bytes())
    return access.start(facts.jobid) if submit else facts


def _require_taken(facts: JobFacts) -> None:
    """Say that a job was refused. A folder says so by itself; a service has kept the job."""
    has_run = any(row.state is JobState.active for row in facts.history)
    if facts.state is JobState.failed and not has_run:
        raise BadInputError(
            f"job {facts.jobid} was not taken: {facts.info}",
            mend="fix its specification, or choose another backend",
        )
