"""Every finding names what is wrong, where, and the mend; a sound identity has none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from identities import (
    LOOPBACK,
    forge,
    introduce,
    job,
    organisation,
    person,
    request_of,
    service,
    use_forged,
)

from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.certificates import Grant, build_list
from airflow_provider_lclstream.certified.check import check
from airflow_provider_lclstream.certified.encoding import to_pem
from airflow_provider_lclstream.certified.findings import expiry_warnings
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.introduction import install
from airflow_provider_lclstream.certified.names import job_name, person_name
from airflow_provider_lclstream.certified.trust import TrustedService, add_service


@pytest.fixture
def alice(tmp_path):
    return person(tmp_path / "alice", "alice")


def problems(folder) -> str:
    """All findings as one text; each has to carry a mend."""
    findings = check(folder)
    assert all(one.mend and one.where for one in findings)
    return "\n".join(str(one) for one in findings)


def test_sound_identities_have_nothing_to_mend(tmp_path, alice):
    for folder in (
        alice,
        service(tmp_path / "s"),
        organisation(tmp_path / "o"),
        job(tmp_path / "j"),
    ):
        assert check(folder) == []


def test_no_identity(tmp_path):
    [finding] = check(IdentityFolder(tmp_path / "nowhere"))
    assert finding.level == "error"
    assert "certified init" in finding.mend


def test_keys_that_others_can_read(alice):
    alice.key.chmod(0o644)
    alice.authority_key.chmod(0o660)
    alice.path.chmod(0o777)
    text = problems(alice)
    assert "mode 0644" in text
    assert "mode 0660" in text
    assert "others can write into" in text


def test_damaged_files(alice):
    alice.key.write_text("rubbish")
    alice.certificate.write_text("rubbish")
    alice.policy.write_text("person_dayz: 3\n")
    (alice.known_clients / "x.crt").write_text("rubbish")
    (alice.known_servers / "x.yaml").write_text("url: [1]\n")
    (alice.known_servers / "y.yaml").write_text("- 1\n")
    (alice.revoked / "x.crl").write_text("rubbish")
    text = problems(alice)
    for place in ("id.key", "id.crt", "policy.yaml", "x.crt", "x.yaml", "y.yaml", "x.crl"):
        assert place in text, place
    assert "RUBBISH" not in text.upper()


@pytest.mark.parametrize(
    ("start", "end", "level", "what"),
    [
        (-9e6, -60, "error", "expired"),
        (3600, 9e6, "error", "valid only from"),
        (-9e6, 20 * 86400, "warning", "expires in"),
        (-3600, 600, "warning", "expires in"),
        (-60, 3600, None, ""),
        (-60, 40 * 86400, None, ""),
    ],
)
def test_dates(alice, start, end, level, what):
    key = ed25519.Ed25519PrivateKey.generate()
    made = forge(alice, person_name("A"), key=key, start_seconds=start, end_seconds=end)
    use_forged(alice, made, key)
    findings = check(alice)
    assert [one.level for one in findings] == ([level] if level else [])
    assert what in "".join(map(str, findings))
    assert [one.level for one in expiry_warnings(alice)] == ([level] if level else [])


def test_a_certificate_of_another_key(tmp_path, alice):
    bob = person(tmp_path / "bob", "bob")
    alice.certificate.write_text(to_pem(bob.own_certificate()))
    assert "not for the key in this folder" in problems(alice)


def test_parts_of_two_authorities(tmp_path, alice):
    bob = person(tmp_path / "bob", "bob")
    alice.authority_key.write_bytes(bob.authority_key.read_bytes())
    assert "do not belong together" in problems(alice)


def test_a_revoked_certificate_and_a_list_that_ran_out(tmp_path, alice):
    server = service(tmp_path / "server")
    server.policy.write_text("revocation_url: http://127.0.0.1:1/revoked.crl\n")
    introduce(server, alice, "alice")
    authority = Authority(server)
    [issue] = authority.record.issues(principal="uid:alice")
    lists = build_list(
        authority.certificate,
        server.read_authority_key(),
        50,
        {issue.serial: datetime.now(UTC)},
        timedelta(days=1),
        now=datetime.now(UTC) - timedelta(days=3),
    )
    (alice.revoked / "server.crl").write_bytes(lists)
    text = problems(alice)
    assert "is revoked" in text
    assert "ran out" in text


def test_a_service_that_accepts_none_of_ours(alice):
    add_service(alice, "far", TrustedService(f"https://{LOOPBACK}:1", None, ["P=x,CN=elsewhere"]))
    assert "P=x,CN=elsewhere" in problems(alice)


def test_a_job_has_what_it_was_given(tmp_path):
    folder, server = job(tmp_path / "job"), service(tmp_path / "server")
    grant = Grant("job", job_name("r1"), "client", timedelta(hours=1))
    install(folder, Authority(server).issue(request_of(folder), grant, requested_by="x"))
    assert check(folder) == []
    assert not folder.is_authority
