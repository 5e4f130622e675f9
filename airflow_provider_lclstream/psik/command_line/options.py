"""What the verbs of ``lclstream psik`` have in common: where the jobs are, and ``--json``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lclstreamer.core.errors import UsageError
from lclstreamer.core.output import note

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.access.base import JobAccess

SERVICE_VARIABLE = "PSIK_SERVICE"

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Where jobs lie and run; else $PSIK_CONFIG, ~/.config/psik.json, /etc/psik.json.",
    ),
]
Service = Annotated[
    str | None,
    typer.Option(
        "--service",
        metavar="URL|ALIAS",
        help="Jobs on this service, not in a folder; else $PSIK_SERVICE.",
    ),
]
Identity = Annotated[
    Path | None,
    typer.Option("--identity", help="Who asks the service; by default this environment's."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
JobIds = Annotated[list[str], typer.Argument(metavar="JOBID...", help="The jobs' ids.")]
JobId = Annotated[str, typer.Argument(metavar="JOBID", help="The job's id.")]


def open_access(config: Path | None, service: str | None, identity: Path | None) -> JobAccess:
    """The jobs that a verb is about.

    What is said on the command line counts more than the environment, where a service counts more
    than a folder.

    Raises:
        UsageError: both a folder and a service are named, or an identity for a folder.
    """
    if config is not None and service is not None:
        raise UsageError(
            "--config and --service exclude each other",
            mend="--config names jobs in a folder of this machine, --service those of a service",
        )
    if config is None:
        service = service or os.environ.get(SERVICE_VARIABLE)
    if service:
        from airflow_provider_lclstream.psik.access.service import open_service

        return open_service(service, identity)
    if identity is not None:
        raise UsageError(
            "--identity is shown to a service, and none is named",
            mend=f"add --service, or set ${SERVICE_VARIABLE}",
        )
    from airflow_provider_lclstream.psik.access.folder import FolderAccess
    from airflow_provider_lclstream.psik.config import find_config
    from airflow_provider_lclstream.psik.store import JobStore

    return FolderAccess(
        JobStore.from_config(find_config(config)), tell=lambda text: note(f"warning: {text}")
    )
