"""A folder of very many ended jobs, for measurements."""

from __future__ import annotations

import time
from pathlib import Path

from airflow_provider_lclstream.psik.layout import JobFolder
from airflow_provider_lclstream.psik.models import JobSpec
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import UnavailableError

FIRST_TIMEOUT_SECONDS = 60.0


def fill(prefix: Path, count: int, *, owner: str | None = None) -> None:
    """Ended jobs as our store leaves them, but without waiting for the disk each time.

    Raises:
        UnavailableError: the first one, of which the others are copies, did not end.
    """
    model = JobStore(prefix).create(JobSpec(script="true", name="ended"), owner=owner)
    model.submit()
    deadline = time.monotonic() + FIRST_TIMEOUT_SECONDS
    while not model.reconcile().is_final:
        if time.monotonic() > deadline:
            raise UnavailableError("a job of one command did not end", mend=f"see {model.folder}")
        time.sleep(0.05)
    texts = {name: (model.folder / name).read_bytes() for name in ("spec.json", "status.csv")}
    for number in range(count - 1):
        folder = JobFolder(prefix / f"17000{number:05d}.000000000")
        folder.path.mkdir()
        for name, text in texts.items():
            (folder.path / name).write_bytes(text)
