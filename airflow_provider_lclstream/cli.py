"""``lclstream``: one umbrella over every tool of this project.

The first word names the tool. Nothing of any tool is imported before that word is known, because
``lclstream psik reached`` runs in every job script and must cost next to nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lclstreamer.core.errors import UsageError
from lclstreamer.core.output import missing_package, run_command


class Verb(NamedTuple):
    """One word of the command line.

    Attributes:
        target: ``module:function``; the function takes the remaining words and returns an exit
            code or None.
        text: what it does, in one line.
    """

    target: str
    text: str


VERBS: dict[str, Verb] = {
    "demo": Verb(
        "airflow_provider_lclstream.sim.cli:demo_command",
        "the whole path on this machine: a run starts, Airflow hears it, events arrive",
    ),
    "pull": Verb(
        "lclstreamer.consumers.cli:pull_command",
        "take the messages of a stream into files or a tar",
    ),
    "push": Verb("lclstreamer.consumers.cli:push_command", "put files into a stream"),
    "psik": Verb(
        "airflow_provider_lclstream.psik.cli:fast_main",
        "jobs as folders: run, ls, status, cancel, logs, serve",
    ),
    "arp": Verb(
        "airflow_provider_lclstream.arp.cli:arp_command",
        "the logbook's run events start transfers: serve, check",
    ),
    "transfer": Verb(
        "airflow_provider_lclstream.transfer.cli:transfer_command",
        "a transfer's schema, launch plan and state table",
    ),
    "certified": Verb(
        "airflow_provider_lclstream.certified.cli:certified_command",
        "identities: init, request, introduce, renew, revoke, serve, check",
    ),
    "message": Verb(
        "airflow_provider_lclstream.certified.message_cli:message_command",
        "one HTTP message under mutual TLS: ALIAS/path",
    ),
    "signer": Verb(
        "airflow_provider_lclstream.signer.cli:signer_command",
        "certificates of one's own login name: serve, request",
    ),
    "sim": Verb(
        "airflow_provider_lclstream.sim.cli:sim_command",
        "single parts of the demo: kafka, elog, run",
    ),
}
"""Every verb of ``lclstream``, in the order of the help."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program and exit with its code."""
    words = list(sys.argv[1:] if argv is None else argv)
    sys.exit(run_command(lambda: dispatch(words), as_json="--json" in words))


def dispatch(words: Sequence[str]) -> int:
    """Hand the words after the first to the tool that the first one names.

    Raises:
        UsageError: no tool has this name.
    """
    if not words or words[0] in {"-h", "--help", "help"}:
        sys.stdout.write(help_text())
        return 0 if words else UsageError.exit_code
    if words[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"lclstream {version('airflow-provider-lclstream')}\n")
        return 0
    verb = VERBS.get(words[0])
    if verb is None:
        raise _unknown(words[0])
    return load(verb.target)(list(words[1:])) or 0


def load(target: str) -> Callable[[list[str]], int | None]:
    """Import ``module:function``.

    Raises:
        MissingDependencyError: an optional package that the tool needs is not installed.
    """
    from importlib import import_module

    module, _, function = target.partition(":")
    try:
        return getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if (missing := missing_package(error)) is None:
            raise
        raise missing from error


def help_text() -> str:
    """What ``lclstream --help`` prints."""
    width = max(len(word) for word in VERBS)
    lines = [f"  {word:<{width}}  {verb.text}" for word, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: lclstream VERB [WORDS …]",
            "",
            "Stream X-ray events from a beamline to whoever computes on them.",
            "",
            *lines,
            "",
            "`lclstream VERB --help` tells more. Beside it: `lclstreamer` reads events,",
            "`nng-stream` buffers them.",
            "",
        ]
    )


def _unknown(word: str) -> UsageError:
    from difflib import get_close_matches

    close = get_close_matches(word, VERBS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return UsageError(
        f"lclstream has no verb {word!r}", mend=f"{hint}`lclstream --help` lists them all"
    )
