"""Logs: standard library loggers in every module, structlog's rendering at the process edge.

Modules write ``logger = logging.getLogger(__name__)`` and pass facts through ``extra={...}``; a
program calls `configure_logging` once. Lines are JSON where nobody watches, coloured where
somebody does, and always on standard error.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

from lclstreamer.core.errors import UsageError

SECRET_MARKERS = ("secret", "password", "token", "private_key", "authorization")
"""A fact whose name contains one of these is never written to a log."""

_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(@)")


def mask_secrets(value: Any, name: str = "") -> Any:
    """The same fact without what must not be read: named secrets and passwords inside URLs."""
    if any(marker in name.lower() for marker in SECRET_MARKERS):
        return "***"
    if isinstance(value, dict):
        return {key: mask_secrets(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mask_secrets(inner) for inner in value]
    return _URL_PASSWORD.sub(r"\1***\2", value) if isinstance(value, str) else value


def _mask(_logger: Any, _method: str, facts: dict[str, Any]) -> dict[str, Any]:
    # structlog's own entries (underscore first) are objects it needs as they are.
    return {
        name: value if name.startswith("_") or name == "exc_info" else mask_secrets(value, name)
        for name, value in facts.items()
    }


def configure_logging(level: str = "INFO", *, as_json: bool | None = None) -> None:
    """Send every log line of this process to standard error.

    Args:
        level: the least severe level that is written, e.g. ``"DEBUG"``.
        as_json: one JSON object per line; by default, when standard error is not a terminal.

    Raises:
        UsageError: there is no such level.
    """
    if level.upper() not in logging.getLevelNamesMapping():
        raise UsageError(
            f"there is no log level {level!r}", mend="choose DEBUG, INFO, WARNING or ERROR"
        )
    import structlog  # half a second of imports that ``--help`` should not pay

    if as_json is None:
        as_json = not sys.stderr.isatty()
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _mask,
    ]
    final: Any = (
        structlog.processors.JSONRenderer(default=str)
        if as_json
        else structlog.dev.ConsoleRenderer()
    )
    render: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        render.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*render, final])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
