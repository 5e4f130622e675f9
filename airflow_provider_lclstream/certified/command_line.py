"""Running a typer application with our errors and exit codes."""

from __future__ import annotations

import typer

from lclstreamer.core.errors import UsageError


def run_typer(application: typer.Typer, words: list[str], name: str) -> int:
    """Run a typer application; what is wrong with the command line becomes a `UsageError`."""
    import click

    try:
        code = typer.main.get_command(application).main(
            words, prog_name=name, standalone_mode=False
        )
    except click.ClickException as error:
        raise UsageError(error.format_message(), mend=f"`{name} --help` tells more") from error
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort as error:
        raise KeyboardInterrupt from error
    return code if isinstance(code, int) else 0
