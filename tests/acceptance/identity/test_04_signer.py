"""Issue 3, line 4: the signer with real users, and 1,000 requests of 20 processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from identities import person
from signers import BIN, DAEMON, MAY_CHANGE_USER, MEND, Site, as_user

from airflow_provider_lclstream.certified.encoding import to_base64url
from airflow_provider_lclstream.certified.key_requests import build_request
from airflow_provider_lclstream.certified.names import person_name
from airflow_provider_lclstream.certified.record import Record

PROCESSES, REQUESTS = 20, 50
CALLER = """
import http.client, json, socket, sys
path, text, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(path)
serials = []
for _ in range(count):
    connection = Connection("localhost")
    connection.request("POST", "/sign?cert=" + text)
    reply = connection.getresponse()
    body = json.loads(reply.read())
    connection.close()
    serials.append(body["signed_cert"] if reply.status == 200 else body["detail"])
print(json.dumps(serials))
"""


@pytest.fixture
def site(require):
    require(MAY_CHANGE_USER, MEND)
    made = Site()
    yield made
    made.remove()


@pytest.mark.timeout(240)
def test_a_thousand_requests_of_twenty_processes_are_all_recorded(
    site, processes, wait_for, venv_bin, tmp_path, figure
):
    running = processes.start(site.command(venv_bin, "--per-minute", "100000"))
    wait_for(lambda: "startup complete" in running.stderr)
    began, callers = time.monotonic(), []
    for number in range(PROCESSES):
        folder = person(tmp_path / str(number), "somebody")
        text = to_base64url(build_request(person_name("root", "root"), folder.read_key()))
        uid = (DAEMON, BIN)[number % 2]
        words = [sys.executable, "-c", CALLER, site.socket, text, str(REQUESTS)]
        callers.append((uid, subprocess.Popen(as_user(uid, words), stdout=subprocess.PIPE)))
    got = {DAEMON: set(), BIN: set()}
    for uid, caller in callers:
        output, _ = caller.communicate(timeout=180)
        assert caller.returncode == 0
        got[uid].update(json.loads(output))
    taken = time.monotonic() - began
    record = Record(site.identity.record)
    for uid, login in ((DAEMON, "daemon"), (BIN, "bin")):
        issued = {one.certificate for one in record.issues(principal=f"uid:{login}")}
        assert issued == got[uid]
        assert len(issued) == PROCESSES * REQUESTS // 2
    assert "Traceback" not in running.stderr
    figure("signed_and_recorded", sum(map(len, got.values())))
    figure("signatures_per_second", PROCESSES * REQUESTS / taken)


@pytest.mark.timeout(240)
def test_names_and_errors(repository, require, figure):
    """Two users, root, a user without a name, a full disk: the signer's integration tests."""
    require(MAY_CHANGE_USER, MEND)
    chosen = "login_name or without_a_name or full_disk or without_proof or own_and_nothing"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/integration/signer", "-k", chosen],
        cwd=repository, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout, done.stdout[-1000:]
    figure("signer_cases", done.stdout.strip().splitlines()[-1].split()[0])
