"""A border around a backend: its mistakes, and odd answers of what it talks to, stay its own.

Backends come from other packages too, and services answer with a proxy's login page. Whatever that
makes them raise, the jobs of other backends are looked after, and these again later.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from airflow_provider_lclstream.psik.backends.base import Attempt, Backend, Observation
from airflow_provider_lclstream.psik.models import JobSpec
from lclstreamer.core.errors import LCLStreamError, TemporaryError, UnavailableError

logger = logging.getLogger(__name__)
MAX_SUBMITTING = 16
PATIENCE_SECONDS = 1.0
"""How long a submission waits for others; after that it is left to the reconciler."""


class GuardedBackend:
    """Does what a backend does; of errors, raises only those that are expected of one."""

    def __init__(self, name: str, backend: Backend) -> None:
        self._name, self._backend = name, backend
        self._submitting = threading.BoundedSemaphore(MAX_SUBMITTING)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._backend, attribute)

    def check(self, spec: JobSpec) -> None:
        """As `Backend.check`."""
        with self._guard("checking a job"):
            self._backend.check(spec)

    def submit(self, attempt: Attempt) -> str:
        """As `Backend.submit`; but a scheduler that hangs does not keep everybody waiting for it.

        Raises:
            TemporaryError: beside the reasons of `Backend.submit`, many are submitting already.
        """
        if not self._submitting.acquire(timeout=PATIENCE_SECONDS):
            raise TemporaryError(
                f"backend {self._name!r} is slow: {MAX_SUBMITTING} jobs are being submitted to it",
                mend="it is submitted in a while; look whether the scheduler is well",
            )
        try:
            with self._guard("submitting a job"):
                return self._backend.submit(attempt)
        finally:
            self._submitting.release()

    def find(self, attempt: Attempt) -> str | None:
        """As `Backend.find`."""
        with self._guard("looking for a job"):
            return self._backend.find(attempt)

    def cancel(self, attempt: Attempt) -> None:
        """As `Backend.cancel`."""
        with self._guard("canceling a job"):
            self._backend.cancel(attempt)

    def observe(self, attempts: Sequence[Attempt]) -> Mapping[str, Observation]:
        """As `Backend.observe`."""
        with self._guard("asking about jobs"):
            return self._backend.observe(attempts)

    @contextlib.contextmanager
    def _guard(self, doing: str) -> Generator[None]:
        try:
            yield
        except (LCLStreamError, OSError):
            raise
        except Exception as error:
            problem = f"{doing} on backend {self._name!r} failed: {type(error).__name__}: {error}"
            logger.warning("a backend failed", extra={"problem": problem}, exc_info=error)
            raise UnavailableError(
                " ".join(problem.split())[:500],
                mend="look at what answers it; if that is well, report this with the log",
            ) from error
