"""Lists over HTTP: only the authority's own, only newer ones, and never more than is bounded."""

from __future__ import annotations

import http.server
import logging
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from identities import (
    LOOPBACK,
    forge,
    introduce,
    organisation,
    person,
    service,
    use_forged,
)

from airflow_provider_lclstream.certified import revocation_follower
from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.names import service_name
from airflow_provider_lclstream.certified.revocation_follower import (
    RevocationFollower,
    fetch_list,
    fetch_lists,
    followed_authorities,
)
from lclstreamer.core.errors import BadInputError, UnavailableError


class Publisher(http.server.BaseHTTPRequestHandler):
    """Answers with what the test puts here."""

    body = b""
    status = 200
    asked = 0

    def do_GET(self):
        type(self).asked += 1
        etag = f'"{hash(self.body)}"'
        unchanged = self.headers.get("If-None-Match") == etag
        self.send_response(304 if unchanged else self.status)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", "0" if unchanged else str(len(self.body)))
        self.end_headers()
        self.wfile.write(b"" if unchanged else self.body)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def world(tmp_path):
    """An authority that publishes, and a follower introduced by it."""
    server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Publisher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    authority, follower = organisation(tmp_path / "authority"), person(tmp_path / "f", "alice")
    url = f"http://{LOOPBACK}:{server.server_port}/revoked.crl"
    authority.policy.write_text(f"revocation_url: {url}\n")
    introduce(authority, follower, "alice")
    Publisher.body, Publisher.status, Publisher.asked = Authority(authority).sign_list(), 200, 0
    [followed] = followed_authorities(follower)
    yield Authority(authority), follower, followed
    server.shutdown()
    server.server_close()


def test_a_newer_list_is_kept_and_an_unchanged_one_costs_little(world):
    authority, follower, followed = world
    assert fetch_list(follower, followed)
    assert not fetch_list(follower, followed)
    Publisher.body = authority.sign_list()
    assert fetch_list(follower, followed)
    assert followed.file.read_bytes() == Publisher.body
    assert followed.file.parent == follower.revoked


def test_an_older_list_is_a_replay(world):
    authority, follower, followed = world
    older = Publisher.body
    authority.revoke("uid:alice", reason="lost")
    Publisher.body = authority.list_file.read_bytes()
    assert fetch_list(follower, followed)
    newer, Publisher.body = followed.file.read_bytes(), older
    with pytest.raises(BadInputError, match="older"):
        fetch_list(follower, followed)
    assert followed.file.read_bytes() == newer


def test_a_list_of_somebody_else_is_refused(world, tmp_path):
    _, follower, followed = world
    Publisher.body = Authority(organisation(tmp_path / "impostor")).sign_list()
    with pytest.raises(BadInputError, match="not signed by the authority"):
        fetch_list(follower, followed)
    assert not followed.file.exists()


def test_answers_that_are_no_list(world, monkeypatch):
    _, follower, followed = world
    Publisher.body = b"<html>"
    with pytest.raises(BadInputError, match="no revocation list"):
        fetch_list(follower, followed)
    monkeypatch.setattr(revocation_follower, "MAXIMUM_LIST_BYTES", 3)
    with pytest.raises(BadInputError, match="too large"):
        fetch_list(follower, followed)
    Publisher.status = 500
    with pytest.raises(UnavailableError, match="500"):
        fetch_list(follower, followed)


def test_programs_that_run_once_fetch_only_what_is_old(world):
    _, follower, _ = world
    assert fetch_lists(follower, older_than_seconds=600) == []
    assert Publisher.asked == 1
    assert fetch_lists(follower, older_than_seconds=600) == []
    assert Publisher.asked == 1
    assert fetch_lists(follower) == []
    assert Publisher.asked == 2


def test_an_authority_that_does_not_answer_is_told_not_raised(world):
    _, follower, _ = world
    place = next(follower.authorities.glob("*.yaml"))
    place.write_text(place.read_text().replace("revoked.crl", "x").replace(LOOPBACK, "127.0.0.9"))
    [problem] = fetch_lists(follower)
    assert isinstance(problem, UnavailableError)


def test_a_running_server_warns_before_its_certificate_ends(
    tmp_path, monkeypatch, caplog, wait_for
):
    monkeypatch.setattr(revocation_follower, "LOOK_AT_DATES_SECONDS", 0)
    folder = service(tmp_path / "server")
    with caplog.at_level(logging.WARNING), RevocationFollower(folder, every_seconds=0.05):
        time.sleep(0.3)
    assert caplog.text == ""
    key = ed25519.Ed25519PrivateKey.generate()
    ending = forge(folder, service_name("psik"), key=key, start_seconds=-9e6, end_seconds=86_400)
    use_forged(folder, ending, key)
    with caplog.at_level(logging.WARNING), RevocationFollower(folder, every_seconds=0.05):
        wait_for(lambda: any("expires in" in record.problem for record in caplog.records))
