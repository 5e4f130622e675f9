"""The hook to jobs, wherever they are kept: a folder of job folders, or a Psik-API service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_lclstream.hooks.service import service_of, url_of
from airflow_provider_lclstream.hooks.settings import setting
from airflow_provider_lclstream.psik.access.folder import FolderAccess
from airflow_provider_lclstream.psik.access.folder_async import InThread
from airflow_provider_lclstream.psik.access.places import ServicePlace, service_place
from airflow_provider_lclstream.psik.store import JobStore
from lclstreamer.core.errors import ConfigurationError, LCLStreamError, TemporaryError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_lclstream.psik.access.base import AsyncJobAccess, JobAccess
    from airflow_provider_lclstream.psik.access.service import ServiceAccess
    from airflow_provider_lclstream.psik.facts import JobFacts
    from airflow_provider_lclstream.psik.states import JobState
    from airflow_provider_lclstream.transfer.site import SiteSettings


@dataclass(frozen=True)
class _Known:
    """What a connection says.

    Attributes:
        site_file: its site file, if any.
        where: the service, the folder of jobs, or None for the site settings' folder.
    """

    site_file: str | None
    where: ServicePlace | Path | None


class PsikHook(BaseHook):
    """Create, watch, read and cancel jobs.

    The connection (type ``psik``) names a service in ``host`` (with ``port``): an alias of the
    identity folder, or a URL; see `airflow_provider_lclstream.hooks.service` for who we are to it.
    Without a host, jobs lie in a folder: the ``prefix`` of its extra, else the site settings'. The
    connection ``psik_default`` need not exist; the site settings count then.

    Args:
        psik_conn_id: the Airflow connection.
        look_seconds: the time between two looks into a folder, while waiting.
        is_bystander: for processes that only show jobs: a folder is read as it is, and no scheduler
            is asked.
    """

    conn_name_attr = "psik_conn_id"
    default_conn_name = "psik_default"
    conn_type = "psik"
    hook_name = "Psi-K jobs"

    def __init__(
        self,
        psik_conn_id: str = default_conn_name,
        *,
        look_seconds: float = 0.1,
        is_bystander: bool = False,
    ) -> None:
        super().__init__()
        self.psik_conn_id = psik_conn_id
        self.look_seconds = look_seconds
        self.is_bystander = is_bystander
        self._found_place: JobStore | ServicePlace | None = None

    @cached_property
    def site(self) -> SiteSettings:
        """What is particular to this site: folders, backends, ports, launchers."""
        from airflow_provider_lclstream.transfer.site import load_site

        return load_site(self._known.site_file or setting("site_file") or None)

    @cached_property
    def access(self) -> JobAccess:
        """The jobs; `close` lets go of it."""
        return self._open()

    @contextlib.contextmanager
    def opened(self) -> Generator[JobAccess]:
        """The jobs over a connection of its own, for a thread beside the one that uses `access`."""
        access = self._open()
        try:
            yield access
        finally:
            _close(access)

    def close(self) -> None:
        """Close the connections; the next use of `access` opens new ones."""
        _close(self.__dict__.pop("access", None))

    def get_conn(self) -> JobAccess:
        """Return the jobs."""
        return self.access

    async def get_async_conn(self) -> AsyncJobAccess:
        """The jobs, for triggers; never blocks the event loop. Call its `aclose` after use."""
        if "_known" not in self.__dict__ and not _is_dag_test():
            try:
                connection = await self.aget_connection(self.psik_conn_id)
            except AirflowNotFoundException as error:
                self._known = self._without(error)
            else:
                self._known = await asyncio.to_thread(self._learn, connection)
        return await asyncio.to_thread(self._open_async)

    def test_connection(self) -> tuple[bool, str]:
        """Say whether jobs can be submitted, and where, for Airflow's "Test" button."""
        try:
            backends = self.access.backends()
            where = self.access.where
        except (OSError, LCLStreamError) as error:
            return False, str(error)
        finally:
            self.close()
        broken = [f"{facts.name} ({facts.problem})" for facts in backends if facts.problem]
        if broken:
            return False, f"{where}: cannot be used: {', '.join(broken)}"
        if not backends:
            return (
                False,
                f"{where} does not let this identity submit to any backend; ask its operators",
            )
        names = ", ".join(f"{facts.name} ({facts.type})" for facts in backends)
        return True, f"{where}: jobs may be submitted to {names}"

    def cancel(
        self, jobid: str, *, reason: str = "canceled", timeout_seconds: float = 10
    ) -> JobState:
        """Cancel a job and see it end. One that has ended stays as it is.

        Raises:
            TemporaryError: it is still running after ``timeout_seconds``.
        """
        deadline = time.monotonic() + timeout_seconds
        facts = self.access.look(jobid)
        if not facts.state.is_final:
            facts = self.access.cancel(jobid, reason)
        while not facts.state.is_final:
            if (left := deadline - time.monotonic()) <= 0:
                raise _slow(facts, timeout_seconds)
            facts = self.access.look(jobid, after=facts.rows, wait_seconds=left)
        return facts.state

    async def acancel(
        self, jobid: str, *, reason: str = "canceled", timeout_seconds: float = 10
    ) -> JobState:
        """As `cancel`, for triggers."""
        deadline = time.monotonic() + timeout_seconds
        access = await self.get_async_conn()
        try:
            facts = await access.look(jobid)
            if not facts.state.is_final:
                facts = await access.cancel(jobid, reason)
            while not facts.state.is_final:
                if (left := deadline - time.monotonic()) <= 0:
                    raise _slow(facts, timeout_seconds)
                facts = await access.look(jobid, after=facts.rows, wait_seconds=left)
            return facts.state
        finally:
            await access.aclose()

    @cached_property
    def _known(self) -> _Known:
        try:
            return self._learn(self.get_connection(self.psik_conn_id))
        except AirflowNotFoundException as error:
            return self._without(error)

    @property
    def _place(self) -> JobStore | ServicePlace:
        if self._found_place is None:
            # Python 3.11's cached_property has one lock for all hooks: a folder of jobs that hangs
            # would keep every other trigger from its own.
            self._found_place = self._find_place()
        return self._found_place

    def _find_place(self) -> JobStore | ServicePlace:
        where = self._known.where
        if isinstance(where, ServicePlace):
            return where
        settings = self.site.psik
        return JobStore(where or settings.prefix, settings.backends)

    def _learn(self, connection: Connection) -> _Known:
        """What is to be known of a connection, but for its secrets. Reads files."""
        name = self.psik_conn_id
        if connection.conn_type not in {None, "", self.conn_type}:
            raise ConfigurationError(
                f"the connection {name!r} has the type {connection.conn_type!r}",
                mend=f"use one of the type {self.conn_type!r}",
            )
        extra = connection.extra_dejson
        site_file, prefix = extra.get("site_file"), extra.get("prefix")
        if not connection.host:
            return _Known(site_file, Path(prefix) if prefix else None)
        if prefix:
            raise ConfigurationError(
                f"the connection {name!r} names both a service and a job folder",
                mend="leave either the host or the job folder empty",
            )
        url = url_of(connection)
        if url.startswith("http://"):
            return _Known(site_file, service_place(url))
        address = service_of(connection)
        return _Known(site_file, ServicePlace(address.url, address.url, address.context))

    def _without(self, error: AirflowNotFoundException) -> _Known:
        """No connection: right for the default one; a mistake in any other name."""
        if self.psik_conn_id != self.default_conn_name:
            raise ConfigurationError(
                f"there is no connection {self.psik_conn_id!r}",
                mend=f"create one of the type {self.conn_type!r}, or fix the name",
            ) from error
        self.log.debug("no connection %r: using the site settings", self.psik_conn_id)
        return _Known(None, None)

    def _open(self) -> JobAccess:
        if isinstance(self._place, JobStore):
            return self._folder(self._place)
        from airflow_provider_lclstream.psik.access.service import open_place

        _no_line_per_request()
        return open_place(self._place)

    def _folder(self, store: JobStore) -> FolderAccess:
        asks, seconds = not self.is_bystander, self.look_seconds
        return FolderAccess(store, look_seconds=seconds, asks=asks, tell=self.log.warning)

    def _open_async(self) -> AsyncJobAccess:
        # Reads files and imports; not for the event loop.
        if isinstance(self._place, JobStore):
            return InThread(self._folder(self._place), self.look_seconds)
        from airflow_provider_lclstream.psik.access.service_async import open_place_async

        _no_line_per_request()
        return open_place_async(self._place)


def _is_dag_test() -> bool:
    """Whether the trigger runs inside of ``airflow dags test``.

    There Airflow has no asynchronous way to its connections, and says that there is none.
    """
    from airflow.sdk.execution_time import task_runner

    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return comms is not None and not hasattr(comms, "asend")


def _close(access: JobAccess | None) -> None:
    if access is not None and not isinstance(access, FolderAccess):
        cast("ServiceAccess", access).close()


def _no_line_per_request() -> None:
    """The client of services writes a line for each request, which would drown a task's log."""
    logger = logging.getLogger("httpx2")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)


def _slow(facts: JobFacts, timeout_seconds: float) -> TemporaryError:
    return TemporaryError(
        f"job {facts.jobid} is still {facts.state} {timeout_seconds:.0f} s after its cancel",
        mend="look at its log, or cancel it by hand with `lclstream psik cancel`",
    )
