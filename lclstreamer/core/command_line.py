"""Every command line of this project: one look, one way to say that it was mistyped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lclstreamer.core.errors import UsageError

if TYPE_CHECKING:
    import typer


def new_app(text: str | None = None, *, epilog: str | None = None) -> typer.Typer:
    """A typer application without boxes, whose errors come out as this project's.

    Args:
        text: what ``--help`` begins with, for an application with several verbs.
        epilog: what it ends with.
    """
    import typer

    return typer.Typer(
        help=text,
        epilog=epilog,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run_app(app: typer.Typer, words: Sequence[str], program: str) -> int:
    """Run an application with these words and return its exit code.

    Without any word an application of several verbs prints its help.

    Raises:
        UsageError: the words are not ones it understands.
    """
    import typer

    is_lost = not words and len(app.registered_commands) + len(app.registered_groups) > 1
    # typer offers no name for what all its complaints have in common: BadParameter's own base.
    complaint: type[Exception] = typer.BadParameter.__mro__[1]
    try:
        code = app(
            args=["--help"] if is_lost else list(words), prog_name=program, standalone_mode=False
        )
    except complaint as error:
        raise _usage_error(error, program) from error
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    if is_lost:
        return UsageError.exit_code
    return code if isinstance(code, int) else 0


def _usage_error(error: Any, program: str) -> UsageError:
    where = error.ctx.command_path if error.ctx is not None else program
    text = str(error.format_message()).strip().rstrip(".")
    return UsageError(text[:1].lower() + text[1:], mend=f"`{where} --help` says what it takes")
