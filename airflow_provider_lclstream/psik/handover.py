"""Submitting an attempt to its backend, once, and passing a cancel on to it."""

from __future__ import annotations

import contextlib
import time

from airflow_provider_lclstream.psik.backends.base import Attempt, Backend
from airflow_provider_lclstream.psik.endings import conclude_unseen
from airflow_provider_lclstream.psik.layout import write_json
from airflow_provider_lclstream.psik.notes import keep_remark, note
from airflow_provider_lclstream.psik.state_log import StateLog, try_lock
from airflow_provider_lclstream.psik.states import TransitionRefusedError
from lclstreamer.core.errors import LCLStreamError, TemporaryError

LIMIT_SECONDS = 3600.0
"""How long an attempt that no backend can take now is offered again."""


class Handover:
    """An attempt, and the backend that is to run it."""

    def __init__(self, attempt: Attempt, backend: Backend) -> None:
        self._attempt, self._backend, self._folder = attempt, backend, attempt.job

    def offer(self) -> None:
        """Give a queued attempt to its backend, unless it has it already or is being given it.

        One that was canceled before is looked for instead: only if no backend has it, it has ended.

        Raises:
            LCLStreamError: refused for good; the attempt is ``failed`` with that reason.
        """
        attempt = self._attempt
        path = self._folder.submission(attempt.jobndx)
        with try_lock(path) as is_ours:
            if not is_ours or attempt.native_id is not None or self._has_ended():
                return
            try:
                was_tried = path.stat().st_size > 0
                native_id = self._backend.find(attempt) if was_tried else None
                if native_id is None and attempt.cancel_request is not None:
                    self._end("")
                    return
                if not was_tried:
                    path.write_text("tried\n", encoding="utf-8")
                noted = {"native_id": native_id or self._backend.submit(attempt)}
                write_json(self._folder.native(attempt.jobndx), noted, sync=False)
            except OSError as error:
                self._not_taken(self._cannot_write(error))
                return
            except LCLStreamError as error:
                self._not_taken(error)
                return
        if attempt.cancel_request is not None:
            self.cancel()

    def request_cancel(self, reason: str) -> None:
        """Write down that the attempt is to end, unless that was asked for before."""
        request = self._folder.cancel_request(self._attempt.jobndx)
        if request.exists():
            return
        try:
            write_json(request, {"reason": reason, "time": time.time()})
        except OSError:
            # The job to be canceled may be the one that fills the disk. A name needs no room.
            with contextlib.suppress(OSError):
                request.touch()

    def cancel(self) -> None:
        """Have the backend end the attempt; until it knows, the reconciler repeats it."""
        attempt = self._attempt
        # Looked at first: one that is handed over just now is not canceled by this.
        can_be_told = attempt.native_id is not None
        self._backend.cancel(attempt)
        if can_be_told:
            told = {**(attempt.cancel_request or {}), "is_told": True}
            with contextlib.suppress(OSError):  # no room: the cancel is sent again
                write_json(self._folder.cancel_request(attempt.jobndx), told, sync=False)

    def catch_up(self) -> None:
        """Repeat a cancel that the backend could not be told of."""
        request = self._attempt.cancel_request
        if request is not None and not request.get("is_told"):
            self.cancel()

    def _not_taken(self, error: LCLStreamError) -> None:
        attempt = self._attempt
        note(self._folder, f"attempt {attempt.jobndx} was not taken: {error}")
        waited = time.time() - attempt.last.time
        if error.transient and waited < LIMIT_SECONDS:
            keep_remark(self._folder, attempt.jobndx, f"not taken yet: {error.problem}")
            return
        self._end(f"not submitted: {error.problem}")
        raise error

    def _has_ended(self) -> bool:
        """Whether it ended since it was looked at, which may be minutes ago in a long round."""
        last = StateLog(self._folder.status).last()
        return last is None or last.jobndx != self._attempt.jobndx or last.state.is_final

    def _end(self, problem: str) -> None:
        """Record the end of an attempt that no backend has: as canceled, if that was asked for."""
        state, info = conclude_unseen(None, self._attempt.cancel_request, problem)
        with contextlib.suppress(TransitionRefusedError):
            StateLog(self._folder.status).append(self._attempt.jobndx, state, info)

    def _cannot_write(self, error: OSError) -> TemporaryError:
        return TemporaryError(
            f"the job folder cannot be written: {error.strerror}",
            where=str(self._folder.path),
            mend="free disk space, or fix its permissions; it is retried automatically",
        )
