"""What every command prints, and how it ends.

Facts go to standard output (one JSON document with ``--json``); progress, warnings and errors go
to standard error. A command never ends in a traceback: an expected error is rendered with its
mend, an unexpected one says how to see its details.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from lclstreamer.core.errors import (
    InternalError,
    LCLStreamError,
    MissingDependencyError,
    PermissionDeniedError,
    UnavailableError,
)

DEBUG_VARIABLE = "LCLSTREAM_DEBUG"
OURS = {"airflow_provider_lclstream", "lclstreamer", "nng_stream"}
EXTRAS = {
    "airflow": "airflow",
    "confluent_kafka": "kafka",
    "fastapi": "api",
    "starlette": "api",
    "uvicorn": "api",
    "psana": "psana2",
    **dict.fromkeys(("h5py", "hdf5plugin", "mpi4py", "msgpack", "numpy", "pynng"), "streamer"),
}
"""Which extra brings a package; `demo` brings the others."""


def print_json(document: Any) -> None:
    """Write one JSON document on one line of standard output, and flush it."""
    sys.stdout.write(json.dumps(document, default=str) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write one line of progress on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def report_error(error: LCLStreamError, *, as_json: bool = False) -> int:
    """Render an error once, for a person or for a machine, and return its exit code."""
    if as_json:
        print_json({"error": error.to_problem()})
    else:
        note(error.render())
    return error.exit_code


def missing_package(error: ModuleNotFoundError) -> LCLStreamError | None:
    """The error for a package that an extra would bring; None where a module of ours is missing."""
    package = (error.name or str(error)).split(".")[0]
    if package in OURS:
        return None
    extra = EXTRAS.get(package, "demo")
    return MissingDependencyError(
        f"the Python package {package!r} is not installed",
        mend=f"install the extra that has it: pip install 'airflow-provider-lclstream[{extra}]'",
    )


def _in_words(error: Exception) -> LCLStreamError:
    """An error that no code nearer to its cause has put into words."""
    if isinstance(error, OSError):
        is_forbidden = error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}
        kind = PermissionDeniedError if is_forbidden else UnavailableError
        return kind(
            error.strerror or str(error),
            where=None if error.filename is None else str(error.filename),
            mend=f"look at it and its permissions; {DEBUG_VARIABLE}=1 shows what wanted it",
        )
    missing = missing_package(error) if isinstance(error, ModuleNotFoundError) else None
    return missing or InternalError(
        f"{type(error).__name__}: {error}",
        mend=f"set {DEBUG_VARIABLE}=1 to see the traceback and report it as a bug",
    )


def run_command(command: Callable[[], Any], *, as_json: bool | None = None) -> int:
    """Run a command line to its end and return the exit code for ``sys.exit``.

    ``as_json`` defaults to whether ``--json`` stands on the command line. With the environment
    variable ``LCLSTREAM_DEBUG=1`` an unexpected error keeps its traceback.
    """
    if as_json is None:
        as_json = "--json" in sys.argv
    try:
        code = command()
    except LCLStreamError as error:
        return report_error(error, as_json=as_json)
    except KeyboardInterrupt:
        note("interrupted")
        return 130
    except BrokenPipeError:
        # The reader of our standard output left; keep the interpreter from failing again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:  # the one place at the process edge that must catch everything
        if os.environ.get(DEBUG_VARIABLE):
            raise
        return report_error(_in_words(error), as_json=as_json)
    return code if isinstance(code, int) else 0
