"""``lclstream psik``: the way in. Light, because `reached` comes this way too."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from airflow_provider_lclstream.psik.reached import TEXT, reached

ELSEWHERE = {"serve": "airflow_provider_lclstream.psik_api.cli:serve_command"}
"""Verbs that stand above this package, which therefore only knows their names."""


def fast_main(argv: Sequence[str]) -> int:
    """Run the words after ``lclstream psik``, and return the exit code.

    `reached` is answered here; every other verb loads the full command line.
    """
    if argv and argv[0] == "reached":
        if {"-h", "--help"} & set(argv[1:]):
            sys.stdout.write(TEXT)
        else:
            reached(argv[1:])
        return 0
    if argv and argv[0] in ELSEWHERE:
        from importlib import import_module

        module, _, function = ELSEWHERE[argv[0]].partition(":")
        return getattr(import_module(module), function)(list(argv[1:]))
    from airflow_provider_lclstream.psik.command_line.verbs import run_words

    return run_words(list(argv))
