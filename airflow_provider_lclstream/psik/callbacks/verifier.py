"""What a receiver of callbacks needs: only what is genuine, fresh and new gets through."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from pydantic import ValidationError

from airflow_provider_lclstream.psik.callbacks.signing import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    signature,
)
from airflow_provider_lclstream.psik.models import Callback
from lclstreamer.core.errors import BadInputError, PermissionDeniedError

TOLERANCE_SECONDS = 300
REMEMBERED_IDS = 100_000


class ForgedCallbackError(PermissionDeniedError):
    """A callback without a valid signature, or too old. Answer 403."""

    title = "callback refused"


class RepeatedCallbackError(BadInputError):
    """A genuine callback that was accepted before. Answer 200, and do nothing."""

    title = "callback repeated"


class CallbackVerifier:
    """Checks the callbacks of jobs whose secret is known.

    A callback is delivered at least once: its sender repeats it when an answer is lost. `verify`
    accepts each id once; the receiver answers 200 to a repetition, so that it stops.

    Args:
        secret: the key of the jobs.
        tolerance_seconds: how old a callback may be.
        accepted: the ids that were accepted before this verifier was made. A receiver that is to
            accept each id once even if it dies keeps them with what it does for a callback.
        clock: the time in seconds since 1970.
    """

    def __init__(
        self,
        secret: str,
        *,
        tolerance_seconds: float = TOLERANCE_SECONDS,
        accepted: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secret, self._tolerance_seconds, self._clock = secret, tolerance_seconds, clock
        self._accepted: OrderedDict[str, object] = OrderedDict.fromkeys(accepted, object())

    def verify(self, headers: Mapping[str, str], body: bytes) -> Callback:
        """Read a callback.

        Args:
            headers: the request's headers, whatever their case.
            body: the raw body; never one that was parsed and serialized again.

        Raises:
            ForgedCallbackError: unsigned, wrongly signed, or not sent within the tolerance.
            RepeatedCallbackError: accepted before.
            BadInputError: genuine, but not a callback.
        """
        given = {name.lower(): value for name, value in headers.items()}
        identity, sent = given.get(ID_HEADER, ""), given.get(TIME_HEADER, "")
        if not identity or not sent.isdecimal() or len(sent) > 12:
            raise _forged("it has no id or no timestamp")
        expected = signature(self._secret, identity, int(sent), body)
        offered = given.get(SIGNATURE_HEADER, "").split()
        if not any(hmac.compare_digest(each.encode(), expected.encode()) for each in offered):
            raise _forged("its signature does not match")
        if abs(self._clock() - int(sent)) > self._tolerance_seconds:
            raise _forged(f"it was not sent within {self._tolerance_seconds:g} s of now")
        callback, mine = _parse(body), object()
        # In one step: of several threads that hold the same callback, one accepts it.
        if self._accepted.setdefault(identity, mine) is not mine:
            raise RepeatedCallbackError(
                f"callback {identity} was accepted before", mend="answer 200 and do nothing"
            )
        if len(self._accepted) > REMEMBERED_IDS:
            self._accepted.popitem(last=False)
        return callback


def _parse(body: bytes) -> Callback:
    try:
        return Callback.model_validate_json(body)
    except ValidationError as error:
        raise BadInputError(
            "a signed body is not a callback", mend="check the version of its sender"
        ) from error


def _forged(why: str) -> ForgedCallbackError:
    return ForgedCallbackError(f"a callback was refused: {why}", mend="answer 403; do not use it")
