"""One request writes at a time; those that read wait for nobody."""

from __future__ import annotations

import asyncio
from typing import Any

from airflow_provider_lclstream.sim.one_writer import OneWriter


class Slow:
    """An application whose requests take a while."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.busy, self.most = seconds, 0, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await asyncio.sleep(self.seconds)
            if scope.get("fails"):
                raise ValueError("a fault of a route")
        finally:
            self.busy -= 1


def most_at_once(
    *scopes: dict[str, Any], patience_seconds: float = 5, seconds: float = 0.05
) -> int:
    async def all_at_once() -> int:
        app = Slow(seconds)
        writer = OneWriter(app, patience_seconds)
        calls = [writer(scope, None, None) for scope in scopes]  # type: ignore[arg-type]
        await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
        return app.most

    return asyncio.run(all_at_once())


def http(method: str, **more: Any) -> dict[str, Any]:
    return {"type": "http", "method": method, **more}


def test_writers_take_turns() -> None:
    assert most_at_once(*[http(method) for method in ("POST", "PATCH", "PUT", "DELETE")]) == 1


def test_readers_and_the_life_of_the_application_wait_for_nobody() -> None:
    assert most_at_once(*[http("GET")] * 3, http("POST"), {"type": "lifespan"}) == 5


def test_a_writer_that_fails_gives_its_turn_back() -> None:
    assert most_at_once(http("POST", fails=True), http("POST"), http("POST")) == 1


def test_a_writer_that_takes_too_long_is_not_waited_for() -> None:
    assert most_at_once(http("POST"), http("POST"), patience_seconds=0.1, seconds=0.5) == 2
