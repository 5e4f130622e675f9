"""The signer's requests side by side."""

from __future__ import annotations

import asyncio
import pwd
import threading

from identities import person, service

from airflow_provider_lclstream.certified.encoding import to_base64url
from airflow_provider_lclstream.signer.app import SignerApplication, SignerSettings
from airflow_provider_lclstream.signer.caller import CALLER, Caller

ALICE = 4321


def test_a_directory_that_is_slow_with_a_name_delays_nobody_else(tmp_path, monkeypatch):
    signer = SignerApplication(service(tmp_path / "signer"), SignerSettings())
    cert = to_base64url(person(tmp_path / "alice", "alice").own_certificate())
    is_asked, other_is_answered, in_time = threading.Event(), threading.Event(), []

    def getpwuid(uid):
        is_asked.set()
        in_time.append(other_is_answered.wait(10))
        return pwd.struct_passwd(("alice", "x", uid, uid, "", "/home/alice", "/bin/sh"))

    async def ask(method, path, query=""):
        statuses = []

        async def send(message):
            statuses.append(message.get("status"))

        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode()}
        await signer({**scope, "state": {CALLER: Caller(1, ALICE, ALICE)}}, None, send)
        return statuses[0]

    async def both():
        signing = asyncio.create_task(ask("POST", "/sign", f"cert={cert}"))
        await asyncio.to_thread(is_asked.wait, 10)
        assert await ask("GET", "/nothing") == 404
        other_is_answered.set()
        assert await signing == 200

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    asyncio.run(both())
    assert in_time == [True]
