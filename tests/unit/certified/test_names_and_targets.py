"""Names that may stand in certificates, files and URLs, and those that may not."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from identities import LOOPBACK, organisation, person, service

from airflow_provider_lclstream.certified.cli import certified_command
from airflow_provider_lclstream.certified.contexts import resolve
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.names import (
    alternative_names,
    file_stem,
    host_name,
    organisation_name,
    person_name,
    signing_name,
)
from airflow_provider_lclstream.certified.policy import load_policy
from airflow_provider_lclstream.certified.trust import TrustedService, add_service
from lclstreamer.core.errors import BadInputError, PermissionDeniedError, UsageError
from lclstreamer.transport.peer import distinguished_name, identity_of


def test_names_are_written_as_upstream_does():
    name = signing_name(organisation_name("S3DF", "psik-api"))
    assert distinguished_name(name) == "P=Signing Certificate,OU=psik-api,O=S3DF"
    assert file_stem(name) == "P=Signing Certificate,OU=psik-api,O=S3DF"


@pytest.mark.parametrize("text", ["../../etc/x", "a/b", "a\0b", "x" * 60, "."])
def test_no_name_leads_out_of_a_folder(text):
    stem = file_stem(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]))
    assert "/" not in stem
    assert "\0" not in stem
    assert stem.startswith("CN=")


def test_names_that_are_empty_or_endless_are_refused():
    with pytest.raises(BadInputError):
        file_stem(x509.Name([]))
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, "x" * 64) for _ in range(5)]
    with pytest.raises(BadInputError):
        file_stem(x509.Name(parts))
    for build in (lambda: person_name(""), lambda: person_name("x" * 65)):
        with pytest.raises(BadInputError, match="name"):
            build()


@pytest.mark.parametrize("uid", ["", "a b", "a,UID=root", "a/b", "-x", "ä", "x" * 70, "a\nb"])
def test_login_names(uid):
    with pytest.raises(BadInputError, match="login name"):
        person_name("A", uid)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("Data.Example.org", "data.example.org"),
        ("*.example.org", "*.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_hosts(text, value):
    assert str(host_name(text).value) == value


@pytest.mark.parametrize(
    "text", ["", "*", "*.org", "a b", "host:80", "https://x", "10.0.0.0/8", "a..b"]
)
def test_what_is_no_host(text):
    with pytest.raises(BadInputError, match="host"):
        host_name(text)


def test_mail_addresses():
    with pytest.raises(BadInputError, match="mail address"):
        alternative_names(emails=["nobody"])
    assert alternative_names() is None


def test_targets(tmp_path):
    folder = person(tmp_path / "alice", "alice")
    add_service(folder, "psik", TrustedService("https://h.example.org:4433/api/"))
    for text, url in (
        ("psik", "https://h.example.org:4433/api/"),
        ("psik/v2/jobs?x=1&y=a/b", "https://h.example.org:4433/api/v2/jobs?x=1&y=a/b"),
        ("https://psik/v2", "https://h.example.org:4433/api/v2"),
        ("https://other.example.org:1/x", "https://other.example.org:1/x"),
        ("https://psik:99/x", "https://psik:99/x"),
        ("https://[::1]:99/x", "https://[::1]:99/x"),
    ):
        assert resolve(folder, text).url == url
    for text in ("", "nowhere/x", "http://psik/x", "ftp://x", "https://", "https://h:x/", "../x"):
        with pytest.raises(BadInputError):
            resolve(folder, text)


def test_a_policy_limits_hosts_and_addresses(tmp_path):
    folder = organisation(tmp_path / "o")
    folder.policy.write_text('hosts: ["*.example.org"]\nemails: []\nperson_days: 7\n')
    policy = load_policy(folder.policy)
    policy.require_allowed(hosts=["a.example.org"], emails=[])
    assert policy.lifetime("person").days == 7
    for hosts, emails in ((["example.com"], []), ([], ["a@example.org"])):
        with pytest.raises(PermissionDeniedError, match="policy"):
            policy.require_allowed(hosts=hosts, emails=emails)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["init"], "nobody is named"),
        (["init", "A", "--service", "x"], "more than one"),
        (["init", "--org", "x"], "--org and --unit"),
        (["init", "--nonsense"], "nonsense"),
        (["nonsense"], "nonsense"),
        (["introduce"], "REQUEST"),
    ],
)
def test_command_lines_that_cannot_be_understood(words, what, tmp_path):
    with pytest.raises(UsageError) as caught:
        certified_command([*words, "--config", str(tmp_path)])
    assert what in str(caught.value)


def test_what_the_commands_print(tmp_path, capsys):
    server, alice = service(tmp_path / "server"), person(tmp_path / "alice", "alice")
    config = ["--config", str(server.path)]
    assert certified_command(["show", *config]) == 0
    assert "cn:psik as server" in capsys.readouterr().out
    certified_command(["export", "authority", "--pem", *config])
    (tmp_path / "ca.pem").write_text(capsys.readouterr().out)
    for verb in ("add-client", "add-server"):
        certified_command([verb, "psik", str(tmp_path / "ca.pem"), "--config", str(alice.path)])
    certified_command(["add-service", "psik", str(tmp_path / "ca.pem"), "--url",
                       f"https://{LOOPBACK}:1", "--config", str(alice.path)])  # fmt: skip
    capsys.readouterr()
    certified_command(["show", "--config", str(alice.path)])
    shown = capsys.readouterr().out
    assert "trusts clients of psik" in shown
    assert "trusts servers of psik" in shown
    assert f"service psik: https://{LOOPBACK}:1" in shown
    certified_command(["list", *config])
    assert len(capsys.readouterr().out.splitlines()) == 2
    certified_command(["init", "--job", "r1", "--config", str(tmp_path / "job")])
    with pytest.raises(BadInputError, match="no certificate yet"):
        certified_command(["export", "--config", str(tmp_path / "job")])


def test_a_former_identity_is_moved_aside_never_deleted(tmp_path, capsys):
    folder = person(tmp_path / "alice", "alice")
    key = folder.key.read_bytes()
    words = ["init", "Alice", "--config", str(folder.path)]
    with pytest.raises(Exception, match="already"):
        certified_command(words)
    certified_command([*words, "--overwrite"])
    [backup] = tmp_path.glob("alice.until-*")
    assert (backup / "id.key").read_bytes() == key
    assert folder.key.read_bytes() != key
    assert str(backup) in capsys.readouterr().err


def test_where_the_identity_is(monkeypatch, tmp_path):
    for variable in ("LCLSTREAM_IDENTITY", "CERTIFIED_CONFIG", "VIRTUAL_ENV"):
        monkeypatch.delenv(variable, raising=False)
    assert IdentityFolder().path.parts[-2:] == ("etc", "certified")
    for variable, value, expected in (
        ("VIRTUAL_ENV", "/v", "/v/etc/certified"),
        ("CERTIFIED_CONFIG", "/c", "/c"),
        ("LCLSTREAM_IDENTITY", "/l", "/l"),
    ):
        monkeypatch.setenv(variable, value)
        assert str(IdentityFolder().path) == expected
    assert IdentityFolder(tmp_path).path == tmp_path


def test_identities_as_json(tmp_path):
    peer = identity_of(person(tmp_path / "a", "alice").own_certificate())
    facts = peer.to_json()
    assert (facts["principal"], facts["roles"]) == ("uid:alice", ["client"])
    assert len(facts["serial"]) == 40
    assert peer.matches("uid:alice")
    assert peer.matches(peer.fingerprint)
    assert not peer.matches("uid:alic")
