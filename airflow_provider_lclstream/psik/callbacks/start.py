"""Marking jobs whose callbacks are to be delivered, and making sure that a courier is there.

Imported by every job, so it knows nothing of HTTP or SQLite.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from airflow_provider_lclstream.psik.layout import PRIVATE
from airflow_provider_lclstream.psik.models import BackendConfig
from airflow_provider_lclstream.psik.processes import (
    ATTEMPT_VARIABLE,
    reap_children,
    remember_child,
)
from airflow_provider_lclstream.psik.state_log import try_lock

_COURIER = "airflow_provider_lclstream.psik.callbacks.courier"


def watched_folder(prefix: Path) -> Path:
    """The folder with one empty file for each job with callbacks to deliver."""
    return prefix / PRIVATE / "callbacks"


def courier_lock(prefix: Path) -> Path:
    """The file that a prefix's courier keeps locked."""
    return prefix / PRIVATE / "courier.lock"


def watched(prefix: Path) -> list[str]:
    """The jobs with callbacks to deliver."""
    try:
        return os.listdir(watched_folder(prefix))  # noqa: PTH208  (names are all that is needed)
    except FileNotFoundError:
        return []


def watch(prefix: Path, jobid: str) -> None:
    """Mark a job as one with callbacks to deliver."""
    folder = watched_folder(prefix)
    folder.mkdir(exist_ok=True)
    (folder / jobid).touch()


def ensure_courier(prefix: Path, backends: Mapping[str, BackendConfig]) -> None:
    """Start a courier, unless there is one or nothing to deliver."""
    reap_children()
    if not watched(prefix):
        return
    with try_lock(courier_lock(prefix)) as is_free:
        if not is_free:
            return
    settings = {name: config.model_dump(mode="json") for name, config in backends.items()}
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", _COURIER, str(prefix), json.dumps(settings)],
        # Started by a job, it is none of that job's processes.
        {**os.environ, ATTEMPT_VARIABLE: "courier"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(prefix / PRIVATE / "courier.log"), append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
    )
    remember_child(pid)
