"""The routes of the minimal Elog: from a path, a query and a body to a value and messages.

The paths are the real Elog's, below its base ``…/<prefix>/lgbk``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from airflow_provider_lclstream.sim.elog_book import ElogBook, NoSuchPageError, Published
from lclstreamer.core.errors import BadInputError


class Request(NamedTuple):
    """One request: the named parts of its path, its query and its JSON body."""

    at: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any]

    @property
    def experiment(self) -> str:
        """The experiment in the path."""
        return self.at["experiment"]

    def number(self, name: str) -> int | None:
        """A whole number of the query, or None where it is not given."""
        text = self.query.get(name)
        if text is None:
            return None
        if not text.isdecimal():
            raise BadInputError(f"{name} is {text!r}", mend="give a run's number")
        return int(text)


class Reply(NamedTuple):
    """What a route gives back, and what is published because of it."""

    value: Any
    messages: tuple[Published, ...] = ()


Route = Callable[[ElogBook, Request], Reply]
ROUTES: list[tuple[re.Pattern[str], Route]] = []

_CONTROL = r"/run_control/(?P<experiment>[^/]+)/ws"
_BOOK = r"/lgbk/(?P<experiment>[^/]+)/ws"


def answer(book: ElogBook, path: str, query: dict[str, str], body: dict[str, Any]) -> Reply:
    """Answer one request.

    Raises:
        NoSuchPageError: there is no such route, experiment or run.
        BadInputError: the request lacks something.
    """
    for pattern, route in ROUTES:
        match = pattern.fullmatch(path)
        if match:
            return route(book, Request(match.groupdict(), query, body))
    raise NoSuchPageError(f"no route {path}", mend="see the Elog's list of routes")


def _at(*patterns: str) -> Callable[[Route], Route]:
    def remember(route: Route) -> Route:
        ROUTES.extend((re.compile(pattern), route) for pattern in patterns)
        return route

    return remember


@_at(f"{_CONTROL}/start_run")
def start_run(book: ElogBook, request: Request) -> Reply:
    """Begin a run; parameters in the body are set at once."""
    run, messages = book.start_run(
        request.experiment,
        run_type=request.query.get("run_type", "DATA"),
        run_number=request.number("run_num"),
    )
    return Reply(run, tuple(messages))


@_at(f"{_CONTROL}/end_run")
def end_run(book: ElogBook, request: Request) -> Reply:
    """End the current run."""
    run, messages = book.end_run(request.experiment)
    return Reply(run, tuple(messages))


@_at(f"{_CONTROL}/add_run_params", f"{_BOOK}/add_run_params")
def add_run_params(book: ElogBook, request: Request) -> Reply:
    """Add the body's parameters to a run."""
    number = request.number("run_num")
    run, messages = book.add_run_params(request.experiment, request.body, number)
    return Reply(run, tuple(messages))


@_at(f"{_BOOK}/register_file")
def register_file(book: ElogBook, request: Request) -> Reply:
    """Note that the data-taking system opened a file."""
    run_number, path = request.body.get("run_num"), request.body.get("path")
    if not isinstance(run_number, int) or not isinstance(path, str):
        raise BadInputError("the body lacks run_num or path", mend="send both")
    absolute = str(request.body.get("absolute_path") or path)
    document, messages = book.register_file(request.experiment, run_number, path, absolute)
    return Reply(document, tuple(messages))


@_at("/lgbk/ws/switch_experiment")
def switch_experiment(book: ElogBook, request: Request) -> Reply:
    """Make an experiment the active one of an instrument."""
    instrument = request.query.get("instrument_name", "")
    messages = book.switch_experiment(instrument, request.query.get("experiment_name", ""))
    return Reply(book.active_experiment(instrument), tuple(messages))


@_at("/lgbk/ws/activeexperiment_for_instrument_station")
def active_experiment(book: ElogBook, request: Request) -> Reply:
    """The active experiment of an instrument."""
    return Reply(book.active_experiment(request.query.get("instrument_name", "")))


@_at(f"{_CONTROL}/current_run", f"{_BOOK}/current_run")
def current_run(book: ElogBook, request: Request) -> Reply:
    """The run that was started last."""
    return Reply(book.current_run(request.experiment))


@_at(f"{_BOOK}/runs")
def runs(book: ElogBook, request: Request) -> Reply:
    """All runs, the latest first."""
    return Reply(book.runs(request.experiment))


@_at(f"{_BOOK}/runs/(?P<number>[0-9]+)")
def run(book: ElogBook, request: Request) -> Reply:
    """One run."""
    return Reply(book.run(request.experiment, int(request.at["number"])))


@_at(f"{_BOOK}/(?P<number>[0-9]+)/files")
def files(book: ElogBook, request: Request) -> Reply:
    """The files of a run."""
    return Reply(book.files(request.experiment, int(request.at["number"])))


@_at(f"{_BOOK}/(?P<number>[0-9]+)/(?:current_)?files_for_live_mode")
def files_for_live_mode(book: ElogBook, request: Request) -> Reply:
    """The paths of a run's data files, without small data; psana asks for them."""
    paths = [file["path"] for file in book.files(request.experiment, int(request.at["number"]))]
    return Reply(sorted(path for path in paths if "smalldata" not in PurePosixPath(path).parts))
