"""The hook to jobs: a local folder of job folders, as `psik` keeps them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_lclstream.hooks.settings import setting
from lclstreamer.core.errors import BadInputError, LCLStreamError, TemporaryError
from lclstreamer.core.units import format_bytes

JSON_LIMIT_BYTES = 1_000_000

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.models import JobSpec, JobState
    from airflow_provider_lclstream.psik.store import Job, JobStore
    from airflow_provider_lclstream.transfer.site import SiteSettings


class PsikHook(BaseHook):
    """Create, watch, read and cancel jobs.

    The connection (type ``psik``) is optional: without one, the site settings say where jobs live.

    Args:
        psik_conn_id: the Airflow connection; its extra may hold ``site_file`` and ``prefix``.
    """

    conn_name_attr = "psik_conn_id"
    default_conn_name = "psik_default"
    conn_type = "psik"
    hook_name = "Psi-K jobs"

    def __init__(self, psik_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.psik_conn_id = psik_conn_id

    @cached_property
    def site(self) -> SiteSettings:
        """What is particular to this site: folders, backends, ports, launchers."""
        from airflow_provider_lclstream.transfer.site import load_site

        return load_site(self._extra.get("site_file") or setting("site_file") or None)

    @cached_property
    def store(self) -> JobStore:
        """The folder of jobs."""
        from airflow_provider_lclstream.psik.store import JobStore

        settings = self.site.psik
        return JobStore(Path(self._extra.get("prefix") or settings.prefix), settings.backends)

    @cached_property
    def _extra(self) -> Mapping[str, Any]:
        try:
            return self.get_connection(self.psik_conn_id).extra_dejson
        except AirflowNotFoundException:
            self.log.debug("no connection %r: using the site settings", self.psik_conn_id)
            return {}

    def get_conn(self) -> JobStore:
        """Return the folder of jobs."""
        return self.store

    def test_connection(self) -> tuple[bool, str]:
        """Say whether the folder of jobs can be read, for Airflow's "Test" button."""
        try:
            count = len(self.store.jobs())
        except (OSError, LCLStreamError) as error:
            return False, str(error)
        return True, f"{self.store.prefix} holds {count} jobs"

    def create(
        self,
        spec: JobSpec,
        *,
        idempotency_key: str,
        dag_id: str,
        files: Mapping[str, str] | None = None,
    ) -> Job:
        """Make the job's folder, or find the one that was made with the same key."""
        return self.store.create(
            spec, idempotency_key=idempotency_key, files=files, owner=owner_of(dag_id)
        )

    def job(self, jobid: str) -> Job:
        """Return a job by its id."""
        return self.store.get(jobid)

    def cancel(self, jobid: str, *, timeout_seconds: float = 10) -> JobState:
        """Cancel a job and see it end.

        Raises:
            TemporaryError: it is still running after ``timeout_seconds``.
        """
        job = self.job(jobid)
        state = job.reconcile()
        if state.is_final:
            return state
        job.cancel()
        deadline = time.monotonic() + timeout_seconds
        while not (state := job.reconcile()).is_final:
            if time.monotonic() > deadline:
                raise TemporaryError(
                    f"job {jobid} is still {state} {timeout_seconds:.0f} s after its cancel",
                    mend="look at its log, or cancel it by hand with `lclstream psik cancel`",
                )
            time.sleep(0.1)
        return state

    def read_json(self, job: Job, name: str) -> Any:
        """Return the content of a JSON file in the job's working directory.

        Raises:
            BadInputError: it is absent, too long or not JSON.
        """
        path = job.work / name
        try:
            if path.stat().st_size > JSON_LIMIT_BYTES:
                problem = f"longer than {format_bytes(JSON_LIMIT_BYTES)}"
            else:
                return json.loads(path.read_bytes())
        except OSError as error:
            problem = error.strerror or str(error)
        except ValueError as error:
            problem = f"not JSON: {error}"
        raise BadInputError(
            f"the job's file {name} cannot be used: {problem}",
            where=str(path),
            mend="look at the job's log; the job has to write this file whole",
        )

    def result_files(self, job: Job, patterns: Sequence[str], limit_bytes: int) -> dict[str, Any]:
        """Return the JSON files in the job's working directory that fit the patterns, by name.

        Raises:
            BadInputError: together they hold more than ``limit_bytes``.
        """
        paths = sorted({path for pattern in patterns for path in job.work.glob(pattern)})
        total = sum(path.stat().st_size for path in paths)
        if total > limit_bytes:
            raise BadInputError(
                f"{len(paths)} result files hold {format_bytes(total)}, "
                f"more than {format_bytes(limit_bytes)}",
                where=str(job.work),
                mend="return less, or raise result_limit_bytes; Airflow's database keeps it all",
            )
        return {str(path.relative_to(job.work)): self.read_json(job, str(path)) for path in paths}

    def log_tails(self, job: Job, limit_bytes: int = 4096) -> Iterator[tuple[str, str]]:
        """Give the end of each of the job's logs that holds anything, as name and text."""
        for name in job.log_names():
            text = job.read_log(name, -limit_bytes, limit_bytes).decode(errors="replace").strip()
            if text:
                yield name, text


def owner_of(dag_id: str) -> str:
    """Return the name under which the jobs of a DAG are kept."""
    return f"airflow:{dag_id}"
