"""The authority decides; requesters prove, and get what was decided or nothing."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from identities import LOOPBACK, introduce, job, person, request_of, service

from airflow_provider_lclstream.certified.authority import SUPERSEDED, Authority
from airflow_provider_lclstream.certified.certificates import Grant
from airflow_provider_lclstream.certified.encoding import (
    read_certificate_file,
    to_base64url,
    to_pem,
)
from airflow_provider_lclstream.certified.key_requests import read_request
from airflow_provider_lclstream.certified.names import (
    alternative_names,
    job_name,
    person_name,
    service_name,
)
from airflow_provider_lclstream.certified.record import Record
from lclstreamer.core.errors import BadInputError, OutputError, PermissionDeniedError
from lclstreamer.transport.peer import identity_of
from lclstreamer.transport.revocation import load_lists

DAY = timedelta(days=1)


def grant(user_id: str = "alice", days: float = 30) -> Grant:
    return Grant("person", person_name(user_id, user_id), "client", days * DAY)


@pytest.fixture
def facility(tmp_path):
    return service(tmp_path / "facility")


@pytest.fixture
def authority(facility):
    return Authority(facility)


def test_of_a_request_only_the_key_is_used(authority, tmp_path):
    mallory = person(tmp_path / "mallory", "mallory")
    claim = request_of(mallory, person_name("Alice", "alice"))
    signed = authority.issue(claim, grant("mallory"), requested_by="operator").signed
    peer = identity_of(signed)
    assert peer.principal == "uid:mallory"
    assert "alice" not in peer.subject.lower()
    assert peer.roles == {"client"}
    assert peer.hosts == ()
    assert signed.public_key() == claim.public_key


def test_possession_of_the_key_must_be_proved(authority, tmp_path):
    alice = person(tmp_path / "alice", "alice")
    unproven = read_request(to_base64url(alice.own_certificate()).encode())
    with pytest.raises(PermissionDeniedError, match="nothing proves"):
        authority.issue(unproven, grant(), requested_by="operator")
    authority.issue(unproven, grant(), requested_by="operator", accept_unproven=True)
    [issue] = authority.record.issues(principal="uid:alice")
    assert issue.proof == "none"


def test_a_name_belongs_to_one_key(authority, tmp_path, facility):
    alice, thief = person(tmp_path / "alice", "alice"), person(tmp_path / "thief", "x")
    introduce(facility, alice, "alice")
    with pytest.raises(PermissionDeniedError, match="already certified for another key"):
        introduce(facility, thief, "alice")
    authority.issue(request_of(thief), grant(), requested_by="operator", replace=True)
    first, second = authority.record.issues(principal="uid:alice")
    assert (first.status, first.reason) == ("revoked", "replaced by a new key")
    assert second.status == "valid"
    lists = load_lists([facility.revoked], [authority.certificate])
    assert first.serial in next(iter(lists.values())).serials


def test_a_revoked_key_is_never_certified_again(authority, tmp_path, facility):
    alice = person(tmp_path / "alice", "alice")
    introduce(facility, alice, "alice")
    authority.revoke("uid:alice", reason="laptop stolen")
    with pytest.raises(PermissionDeniedError, match="not certified again"):
        introduce(facility, alice, "alice2")


def test_a_superseded_certificate_does_not_condemn_its_key(authority, tmp_path, facility):
    alice = person(tmp_path / "alice", "alice")
    introduce(facility, alice, "alice")
    authority.revoke("uid:alice", reason=SUPERSEDED)
    introduce(facility, alice, "alice")


def test_lifetimes_are_clamped_to_the_policy_and_the_authority(authority, tmp_path):
    alice = person(tmp_path / "alice", "alice")
    signed = authority.issue(request_of(alice), grant(days=99999), requested_by="x").signed
    lifetime = signed.not_valid_after_utc - datetime.now(UTC)
    assert 364 * DAY < lifetime <= 365 * DAY
    assert signed.not_valid_after_utc <= authority.certificate.not_valid_after_utc
    run = Grant("job", job_name("r42"), "client", 365 * DAY)
    signed = authority.issue(request_of(job(tmp_path / "job")), run, requested_by="x").signed
    assert signed.not_valid_after_utc - datetime.now(UTC) <= 3 * DAY
    assert identity_of(signed).principal == "job:r42"


def test_a_leaf_never_outlives_its_authority(authority, tmp_path, facility):
    from airflow_provider_lclstream.certified.certificates import build_authority, build_leaf

    key = facility.read_authority_key()
    short = build_authority(service_name("short"), key, 2 * DAY)
    signed = build_leaf(grant(days=300), key.public_key(), short, key)
    assert signed.not_valid_after_utc == short.not_valid_after_utc


def test_client_and_server_are_certified_apart(authority, tmp_path):
    other = service(tmp_path / "other", "buffer")
    names = alternative_names(hosts=[LOOPBACK, "*.example.org"])
    wanted = Grant("service", service_name("buffer"), "server", DAY, names)
    peer = identity_of(authority.issue(request_of(other), wanted, requested_by="x").signed)
    assert peer.roles == {"server"}
    assert peer.hosts == (LOOPBACK, "*.example.org")


def test_keys_of_other_kinds_are_refused():
    key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(person_name("x"))
    with pytest.raises(BadInputError, match="RSA"):
        read_request(to_pem(builder.sign(key, SHA256())).encode())


def test_ecdsa_keys_are_certified(authority, tmp_path):
    bob = person(tmp_path / "bob", "bob", key_type="ecdsa")
    introduce(authority.folder, bob, "bob")
    assert identity_of(bob.own_certificate()).principal == "uid:bob"


def test_renewal_keeps_the_names_and_needs_a_valid_certificate(authority, tmp_path, facility):
    alice = person(tmp_path / "alice", "alice")
    first = identity_of(introduce(facility, alice, "alice").signed)
    second = identity_of(authority.renew(first, request_of(alice, person_name("root"))).signed)
    assert second.serial != first.serial
    assert (second.subject, second.roles) == (first.subject, first.roles)
    authority.revoke(first.serial, reason=SUPERSEDED)
    with pytest.raises(PermissionDeniedError, match="cannot be renewed"):
        authority.renew(first, request_of(alice))
    stranger = identity_of(alice.own_certificate())
    with pytest.raises(PermissionDeniedError, match="cannot be renewed"):
        authority.renew(stranger, request_of(alice))


def test_a_renewal_that_meets_a_revocation_is_refused(authority, tmp_path, facility, monkeypatch):
    alice, thief = person(tmp_path / "alice", "alice"), person(tmp_path / "thief", "x")
    shown, entry = identity_of(introduce(facility, alice, "alice").signed), Authority._entry

    def revoke_first(self, *arguments):
        authority.revoke("uid:alice", reason="laptop stolen")
        return entry(self, *arguments)

    monkeypatch.setattr(Authority, "_entry", revoke_first)
    with pytest.raises(PermissionDeniedError, match="cannot be renewed"):
        authority.renew(shown, request_of(thief))  # for a key that nobody knows yet
    assert [one.status for one in authority.record.issues(principal="uid:alice")] == ["revoked"]


def test_a_revocation_that_meets_a_renewal_takes_both_back(
    authority, tmp_path, facility, monkeypatch
):
    alice, thief = person(tmp_path / "alice", "alice"), person(tmp_path / "thief", "x")
    shown = identity_of(introduce(facility, alice, "alice").signed)
    transaction, renewed = Record.transaction, []

    def renew_first(self):
        if not renewed:
            renewed.append(True)
            authority.renew(shown, request_of(thief))
        return transaction(self)

    monkeypatch.setattr(Record, "transaction", renew_first)
    assert len(authority.revoke("uid:alice", reason="laptop stolen")) == 2
    statuses = [one.status for one in authority.record.issues(principal="uid:alice")]
    assert statuses == ["revoked", "revoked"]


def test_everything_is_recorded_before_it_leaves(authority, tmp_path, monkeypatch):
    alice = person(tmp_path / "alice", "alice")

    def full(*_arguments):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("airflow_provider_lclstream.certified.authority.insert", full)
    with pytest.raises(OutputError, match="disk is full") as caught:
        authority.issue(request_of(alice), grant(), requested_by="x")
    assert "nothing was issued" in caught.value.mend
    assert authority.record.issues(principal="uid:alice") == []


def test_many_writers_lose_nothing(authority, tmp_path):
    folders = [person(tmp_path / f"p{n}", f"user{n}") for n in range(8)]

    def ask(number: int) -> None:
        mine = Authority(authority.folder)
        for _ in range(5):
            mine.issue(request_of(folders[number]), grant(f"user{number}"), requested_by="x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    issues = authority.record.issues()
    assert len([one for one in issues if one.principal.startswith("uid:user")]) == 40
    assert len({one.serial for one in issues}) == len(issues)


def test_revoking_what_is_not_there_says_so(authority, facility):
    with pytest.raises(BadInputError, match="was not issued here"):
        authority.revoke("uid:nobody", reason="x")
    own = identity_of(read_certificate_file(facility.certificate)).serial
    authority.revoke(own.upper(), reason="x")
    with pytest.raises(BadInputError, match="already revoked"):
        authority.revoke(own, reason="x")


def test_lists_count_upwards_and_carry_every_revocation(authority, tmp_path, facility):
    numbers = []
    for index in range(3):
        introduce(facility, person(tmp_path / f"p{index}", "x"), f"user{index}")
        authority.revoke(f"uid:user{index}", reason="x")
        [one] = load_lists([facility.revoked], [authority.certificate]).values()
        numbers.append(one.number)
        assert len(one.serials) == index + 1
        assert not one.is_stale()
    assert numbers == sorted(set(numbers))


def test_the_record_and_the_keys_are_for_their_owner_alone(facility):
    for path in (facility.record, facility.key, facility.authority_key):
        assert path.stat().st_mode & 0o777 == 0o600, path
    assert facility.path.stat().st_mode & 0o777 == 0o700
