"""The signer with real users: the kernel says who calls, the request only which key."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from identities import person
from signers import (
    BIN,
    DAEMON,
    MAY_CHANGE_USER,
    MEND,
    NAMELESS_UID,
    SIGNER_UID,
    Site,
    answer,
    as_user,
    curl,
    give,
)

from airflow_provider_lclstream.certified.encoding import read_certificate, to_base64url
from airflow_provider_lclstream.certified.introduction import install, parse_introduction
from airflow_provider_lclstream.certified.key_requests import build_request
from airflow_provider_lclstream.certified.names import person_name
from airflow_provider_lclstream.certified.record import Record
from lclstreamer.transport.peer import identity_of


@pytest.fixture
def site(require):
    require(MAY_CHANGE_USER, MEND)
    made = Site()
    yield made
    made.remove()


@pytest.fixture
def start(site, processes, wait_for, venv_bin):
    def begin(*options):
        running = processes.start(site.command(venv_bin, *options))
        wait_for(lambda: "startup complete" in running.stderr or running.process.poll() is not None)
        return running

    return begin


@pytest.fixture
def call(site, processes):
    def one(uid, target, method="POST"):
        done = processes.run(curl(site, uid, method, target))
        assert done.process.returncode == 0, done.stderr
        return answer(done)

    return one


def ident(folder, claim="root") -> str:
    """A request for this folder's key that claims to be somebody else."""
    return quote(to_base64url(build_request(person_name(claim, claim), folder.read_key())))


def test_each_user_gets_their_own_login_name(site, start, call, tmp_path):
    running = start()
    mine, yours = person(tmp_path / "a", "root"), person(tmp_path / "b", "daemon")
    for uid, folder, login in ((DAEMON, mine, "daemon"), (BIN, yours, "bin")):
        reply = call(uid, f"/sign?cert={ident(folder)}")
        peer = identity_of(read_certificate(reply["signed_cert"]))
        assert peer.principal == f"uid:{login}"
        assert (peer.roles, peer.hosts, peer.emails) == ({"client"}, (), ())
        install(folder, parse_introduction(json.dumps(reply)))
    # Upstream's `get-ident`, a certificate: the same contract.
    theirs = quote(to_base64url(mine.own_certificate()))
    assert "signed_cert" in call(DAEMON, f"/sign?cert={theirs}")
    assert "Traceback" not in running.stderr
    names = [one.principal for one in Record(site.identity.record).issues()]
    assert names.count("uid:daemon") == 2
    assert names.count("uid:bin") == 1


def test_nobody_gets_a_certificate_for_anothers_key_without_proof(start, call, tmp_path):
    start()
    mine = person(tmp_path / "a", "x")
    call(DAEMON, f"/sign?cert={ident(mine)}")
    stolen = quote(to_base64url(mine.own_certificate()))
    assert "for somebody else" in call(BIN, f"/sign?cert={stolen}")["detail"]


def test_root_and_users_without_a_name_are_told_why_not(start, call, tmp_path):
    start()
    folder = person(tmp_path / "a", "x")
    for uid, why in ((0, "root gets no certificate"), (NAMELESS_UID, "has no login name")):
        problem = call(uid, f"/sign?cert={ident(folder)}")
        assert problem["status"] == 403
        assert why in problem["detail"]
        assert problem["mend"]


def test_system_accounts_get_none_by_default(site, start, call, tmp_path):
    start("--minimum-uid", "1000")
    problem = call(DAEMON, f"/sign?cert={ident(person(tmp_path / 'a', 'x'))}")
    assert "account of the system" in problem["detail"]


def test_damaged_requests_and_other_routes(start, call):
    running = start("--per-minute", "1000")
    for target in (
        "/sign",
        "/sign?cert=",
        "/sign?cert=AAAA",
        "/sign?cert=%00%ff",
        "/sign?cert=" + "A" * 60_000,
    ):
        assert call(DAEMON, target)["status"] == 400, target[:40]
    assert call(DAEMON, "/nowhere")["status"] == 404
    assert call(DAEMON, "/status?serial=00", "GET")["status"] == 400
    assert "Traceback" not in running.stderr


def test_callers_see_and_revoke_their_own_and_nothing_else(site, start, call, tmp_path):
    start()
    call(DAEMON, f"/sign?cert={ident(person(tmp_path / 'a', 'x'))}")
    [issue] = call(DAEMON, "/issued", "GET")
    serial = issue["serial"]
    assert call(BIN, "/issued", "GET") == []
    assert call(BIN, f"/status?serial={serial}", "GET")["status"] == 400
    assert call(BIN, f"/revoke?serial={serial}")["status"] == 400
    assert call(DAEMON, f"/status?serial={serial}", "GET")["status"] == "valid"
    assert call(DAEMON, f"/revoke?serial={serial}")[0]["status"] == "revoked"
    assert Record(site.identity.record).issue(serial).reason == "revoked by its holder"
    assert list(site.identity.revoked.glob("*.crl"))


def test_each_user_is_limited_apart_from_others(start, call, tmp_path):
    start("--per-minute", "3")
    folder = person(tmp_path / "a", "x")
    replies = [call(DAEMON, f"/sign?cert={ident(folder)}") for _ in range(5)]
    assert [reply.get("status") for reply in replies] == [None, None, None, 429, 429]
    assert "ask again in" in replies[-1]["mend"]
    assert "signed_cert" in call(BIN, f"/sign?cert={ident(person(tmp_path / 'b', 'y'))}")


def test_a_full_disk_is_a_clear_error_and_issues_nothing(site, start, call, tmp_path):
    place = site.path / "identity"
    kept = site.path / "kept"
    shutil.move(place, kept)
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, check=False, timeout=20)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        shutil.copytree(kept, place, dirs_exist_ok=True)
        give(place, SIGNER_UID)
        running = start("--per-minute", "1000")
        folder = person(tmp_path / "a", "x")
        assert "signed_cert" in call(DAEMON, f"/sign?cert={ident(folder)}")
        filler = place / "filler"
        with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(b"x" * 4096)
        assert shutil.disk_usage(place).free == 0
        problem = call(DAEMON, f"/sign?cert={ident(folder)}")
        assert problem["status"] == 503
        assert "disk" in problem["detail"] or "full" in problem["detail"]
        assert "nothing was issued" in problem["mend"]
        filler.unlink()
        assert "signed_cert" in call(DAEMON, f"/sign?cert={ident(folder)}")
        assert len(Record(site.identity.record).issues(principal="uid:daemon")) == 2
        assert "Traceback" not in running.stderr
        running.stop()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, timeout=20)


def test_lclstream_signer_request_is_the_whole_client_side(site, start, processes, venv_bin):
    start()
    home = site.path / "home"
    home.mkdir()
    folder = person(home / "identity", "whoever")
    give(home, DAEMON)
    done = processes.run(
        as_user(DAEMON, [venv_bin / "lclstream", "signer", "request", "--socket", site.socket,
                         "--config", folder.path])
    )  # fmt: skip
    assert done.process.returncode == 0, done.stderr
    [path] = [Path(line) for line in done.stdout.split("\n") if line]
    assert identity_of(read_certificate(path.read_text())).principal == "uid:daemon"


def test_it_asks_through_ssh_with_what_every_login_node_has(site, start, processes, tmp_path):
    """``ssh`` here is a stand-in that runs the command under another user, as sshd would."""
    start()
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(
        '#!/bin/sh\nwhile [ "$1" = -o ]; do shift 2; done\nshift\n'
        f'exec {" ".join(as_user(BIN, ["sh", "-c"]))} "$*"\n'
    )
    (programs / "ssh").chmod(0o755)
    folder = person(tmp_path / "identity", "whoever")
    words = ["lclstream", "signer", "request", "--socket", site.socket, "--config", folder.path]
    environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = processes.run([*words, "--host", "login.example.org"], environment=environment)
    assert done.process.returncode == 0, done.stderr
    assert (
        identity_of(read_certificate(Path(done.stdout.strip()).read_text())).principal == "uid:bin"
    )
    evil = processes.run([*words, "--host", "-oProxyCommand=id"], environment=environment)
    assert evil.process.returncode == 65


def test_a_rogue_in_its_place_is_not_trusted(site, processes, tmp_path, venv_bin):
    """Another user listens on the socket: the client refuses before it sends anything."""
    (site.path / "run").chmod(0o777)
    give(site.path / "run", SIGNER_UID)
    folder = person(tmp_path / "identity", "alice")
    rogue = processes.start(
        as_user(BIN, [venv_bin / "python", "-c",
                      "import socket,sys,time; s=socket.socket(socket.AF_UNIX);"
                      f"s.bind({str(site.socket)!r}); s.listen(); time.sleep(60)"])
    )  # fmt: skip
    words = ["lclstream", "signer", "request", "--socket", site.socket, "--config", folder.path]
    while not site.socket.exists():
        assert rogue.process.poll() is None, rogue.stderr
    done = processes.run(words)
    assert done.process.returncode == 77
    assert "others could replace the socket" in done.stderr
    (site.path / "run").chmod(0o755)
    done = processes.run(words)
    assert done.process.returncode == 77
    assert "listens in the signer's place" in done.stderr


def test_it_does_not_run_as_root_nor_in_a_folder_of_everybody(site, processes, venv_bin):
    command = site.command(venv_bin)
    as_root = processes.run(command[command.index("--") + 1 :])
    assert as_root.process.returncode == 77
    assert "does not run as root" in as_root.stderr
    (site.path / "run").chmod(0o777)
    open_folder = processes.run(command)
    assert open_folder.process.returncode == 77
    assert "others could replace the socket" in open_folder.stderr


def test_systemd_hands_over_the_socket(
    site, processes, wait_for, call, require, venv_bin, tmp_path
):
    program = shutil.which("systemd-socket-activate")
    require(program, "install systemd")
    (site.path / "run").chmod(0o777)
    command = site.command(venv_bin, "--per-minute", "1000")
    launched = processes.start(
        [program, f"--listen={site.socket}", *command[: command.index("--") + 1],
         *command[command.index("--") + 1 :]]
    )  # fmt: skip
    wait_for(site.socket.exists)
    site.socket.chmod(0o666)
    reply = call(DAEMON, f"/sign?cert={ident(person(tmp_path / 'a', 'x'))}")
    assert "signed_cert" in reply
    launched.stop(signal.SIGTERM)


def test_the_units_are_sound(repository, require, venv_bin, tmp_path):
    require(shutil.which("systemd-analyze"), "install systemd")
    units = []
    for shipped in (repository / "deploy" / "systemd").glob("lclstream-*"):
        # The program they name need not be installed on the machine of the tests.
        unit = tmp_path / shipped.name
        unit.write_text(shipped.read_text().replace("/opt/lclstream/bin", str(venv_bin)))
        units.append(unit)
    assert len(units) == 5
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, units)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert [line for line in done.stderr.splitlines() if "lclstream-" in line] == []
    assert done.returncode == 0, done.stderr
