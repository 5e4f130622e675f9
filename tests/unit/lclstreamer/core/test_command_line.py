"""Command lines: what was mistyped is said with a mend, and help is help."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer

from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.errors import UsageError


@pytest.fixture
def tool() -> typer.Typer:
    app = new_app("Does things.")

    @app.command()
    def add(number: int, *, twice: Annotated[bool, typer.Option("--twice")] = False) -> None:
        """Add."""
        raise typer.Exit(number * (2 if twice else 1))

    @app.command()
    def show() -> None:
        """Show."""

    return app


def test_the_exit_code_is_the_commands(tool):
    assert run_app(tool, ["add", "3", "--twice"], "tool") == 6
    assert run_app(tool, ["show"], "tool") == 0


@pytest.mark.parametrize(
    ("words", "problem", "where"),
    [
        (["shwo"], "no such command 'shwo'. Did you mean 'show'?", "tool"),
        (["add", "--twcie", "3"], "no such option: --twcie", "tool add"),
        (["add", "three"], "invalid value for 'number'", "tool add"),
        (["add"], "missing argument 'number'", "tool add"),
        (["show", "me"], "got unexpected extra argument", "tool show"),
    ],
)
def test_what_was_mistyped_is_a_usage_error_with_a_mend(tool, words, problem, where):
    with pytest.raises(UsageError) as caught:
        run_app(tool, words, "tool")
    assert problem.lower() in caught.value.problem.lower()
    assert caught.value.mend == f"`{where} --help` says what it takes"


def test_without_a_verb_the_help_is_shown(tool, capsys):
    assert run_app(tool, [], "tool") == 64
    assert "Does things." in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_no_error(tool, flag, capsys):
    assert run_app(tool, ["add", flag], "tool") == 0
    out = capsys.readouterr().out
    assert "Usage: tool add" in out
    assert "╭" not in out
