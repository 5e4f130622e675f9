"""What is noted beside a job's history: whose it is, why it waits, what went wrong."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from airflow_provider_lclstream.psik.layout import JobFolder, read_json, write_json
from airflow_provider_lclstream.psik.state_log import StateLog
from airflow_provider_lclstream.psik.states import Transition


def about_of(folder: JobFolder) -> dict[str, Any]:
    """The facts in a job's first row: its backend as configured then, its owner, its key."""
    rows = StateLog(folder.status).read()
    try:
        found = json.loads(rows[0].info) if rows else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def remark_of(folder: JobFolder, last: Transition) -> str:
    """What the backend last said about a job in the state of its newest row."""
    noted = read_json(folder.remark(last.jobndx)) or {}
    return str(noted.get("text", "")) if noted.get("state") == last.state else ""


def keep_remark(folder: JobFolder, jobndx: int, text: str) -> None:
    """Keep what the backend says about an attempt whose state has not changed."""
    last = StateLog(folder.status).last()
    if text and last is not None and last.jobndx == jobndx and text != remark_of(folder, last):
        noted = {"state": last.state, "text": text}
        with contextlib.suppress(OSError):  # nothing depends on it
            write_json(folder.remark(jobndx), noted, sync=False)


def note(folder: JobFolder, text: str) -> None:
    """Append a line to the job's own log, ``console``, if it can be written."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with contextlib.suppress(OSError), folder.console.open("a", encoding="utf-8") as stream:
        stream.write(f"{stamp} {text}\n")
