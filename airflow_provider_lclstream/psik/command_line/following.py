"""``lclstream psik watch`` and ``logs``: following a job while it runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_provider_lclstream.psik.command_line.options import (
    AsJson,
    Config,
    Identity,
    JobId,
    Service,
    open_access,
)
from airflow_provider_lclstream.psik.command_line.patience import Patience, exit_code
from airflow_provider_lclstream.psik.command_line.tables import history_line
from airflow_provider_lclstream.psik.states import JobState
from lclstreamer.core.errors import BadInputError, UsageError
from lclstreamer.core.output import print_json

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.access.base import JobAccess
    from airflow_provider_lclstream.psik.facts import JobFacts

FOLLOW_SECONDS = 0.5
PIECE_BYTES = 2**20
DOCUMENT_BYTES = 2**26
"""How much of the logs one JSON document holds."""
WEEK_SECONDS = 7 * 86400.0


def watch(
    jobid: JobId,
    *,
    config: Config = None,
    service: Service = None,
    identity: Identity = None,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.")] = WEEK_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Show each state of a job as it is reached; the exit code is the job's."""
    access = open_access(config, service, identity)
    facts, patience = access.look(jobid), Patience(access, timeout)
    while True:
        for row in facts.history:
            if as_json:
                print_json(row.model_dump(mode="json"))
            else:
                sys.stdout.write(history_line(row) + "\n")
                sys.stdout.flush()
        if facts.state.is_final or facts.state is JobState.new:
            raise typer.Exit(exit_code(facts))
        facts = patience.news(facts)


def logs(
    jobid: JobId,
    name: Annotated[
        str | None,
        typer.Argument(help="Which log: stdout (the default) and stderr are the last attempt's."),
    ] = None,
    *,
    config: Config = None,
    service: Service = None,
    identity: Identity = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the job ends.")
    ] = False,
    tail: Annotated[int | None, typer.Option(min=0, help="Only the last so many bytes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a log of a job."""
    access = open_access(config, service, identity)
    facts = access.look(jobid)
    wanted = name or "stdout"
    if wanted in {"stdout", "stderr"}:
        wanted = f"{wanted}.{max(facts.jobndx, 1)}"
    if as_json:
        if follow:
            raise UsageError("a document cannot be followed", mend="leave out --follow or --json")
        print_json(_texts(access, jobid, [wanted] if name else list(facts.logs), tail))
        return
    patience = Patience(access, WEEK_SECONDS if follow else 0)
    reader = _Reader(access, patience, jobid, wanted)
    if tail is not None:
        reader.skip_to_last(tail)
    if not follow:
        reader.print_rest()
        return
    reader.follow(facts)


def follow_output(access: JobAccess, patience: Patience, facts: JobFacts) -> None:
    """Print what a job that was submitted writes to standard output, until it ends."""
    _Reader(access, patience, facts.jobid, f"stdout.{max(facts.jobndx, 1)}").follow(facts)


class _Reader:
    """Prints a log from where it was left off."""

    def __init__(self, access: JobAccess, patience: Patience, jobid: str, name: str) -> None:
        self._access, self._patience, self._jobid, self.name = access, patience, jobid, name
        self._offset = 0

    def skip_to_last(self, count: int) -> None:
        """Leave out all but the last bytes of what there is."""
        size = self._access.log_sizes(self._jobid).get(self.name, 0)
        self._offset = max(0, size - count)

    def follow(self, facts: JobFacts) -> None:
        """Print the log until the job ends, or the time is over."""
        while _is_pending(facts) and _is_there_or_to_come(self.name, facts):
            if self._patience.is_over:
                break
            if self.name in facts.logs:
                self.print_rest()
            facts = self._patience.look(self._jobid, facts.rows, FOLLOW_SECONDS)
        self.print_rest()

    def print_rest(self) -> None:
        """Print what has been added."""
        while piece := self._patience.bear(self._piece):
            self._offset += len(piece)
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()

    def _piece(self) -> bytes:
        return self._access.read_log(self._jobid, self.name, self._offset, PIECE_BYTES)


def _is_pending(facts: JobFacts) -> bool:
    return facts.state in {JobState.queued, JobState.active}


def _is_there_or_to_come(name: str, facts: JobFacts) -> bool:
    return name in {*facts.logs, f"stdout.{facts.jobndx}", f"stderr.{facts.jobndx}"}


def _texts(access: JobAccess, jobid: str, names: list[str], tail: int | None) -> dict[str, str]:
    """Logs, or their last bytes, by name.

    Raises:
        BadInputError: they are too long for one document.
    """
    sizes = access.log_sizes(jobid)
    begins = {n: 0 if tail is None else max(0, sizes.get(n, 0) - tail) for n in names}
    length = sum(sizes.get(name, 0) - begin for name, begin in begins.items())
    if length > DOCUMENT_BYTES:
        raise BadInputError(
            f"{length} bytes of logs are too many for one document",
            where=f"job {jobid}",
            mend="name one log, add --tail, or leave out --json",
        )
    return {name: _text(access, jobid, name, begin) for name, begin in begins.items()}


def _text(access: JobAccess, jobid: str, name: str, begin: int) -> str:
    content = bytearray()
    while piece := access.read_log(jobid, name, begin + len(content), PIECE_BYTES):
        content += piece
        if len(content) > DOCUMENT_BYTES:
            break  # it grows faster than it is read
    return content.decode("utf-8", "replace")
