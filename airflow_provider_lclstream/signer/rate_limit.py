"""How many requests one user may make: a bucket of tokens for each."""

from __future__ import annotations

import time
from collections import OrderedDict

REMEMBERED_USERS = 100_000


class RateLimit:
    """At most ``per_minute`` requests a minute and user, all of them at once if need be."""

    def __init__(self, per_minute: float) -> None:
        self._per_minute = per_minute
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def wait_seconds(self, uid: int, now: float | None = None) -> float:
        """Take a token of this user: 0 if there was one, else when the next one comes."""
        moment = time.monotonic() if now is None else now
        tokens, since = self._buckets.pop(uid, (self._per_minute, moment))
        tokens = min(self._per_minute, tokens + (moment - since) * self._per_minute / 60)
        allowed = tokens >= 1
        self._buckets[uid] = (tokens - 1 if allowed else tokens, moment)
        if len(self._buckets) > REMEMBERED_USERS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) * 60 / self._per_minute
