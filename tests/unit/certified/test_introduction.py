"""Introductions: whole, meant for this key, and never older than what is there."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identities import introduce, person, request_of, service

from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.certificates import Grant
from airflow_provider_lclstream.certified.contexts import resolve
from airflow_provider_lclstream.certified.encoding import read_certificate, to_pem
from airflow_provider_lclstream.certified.introduction import install, parse_introduction
from airflow_provider_lclstream.certified.key_requests import read_request
from airflow_provider_lclstream.certified.names import person_name
from airflow_provider_lclstream.certified.trust import read_service, trust_authority
from lclstreamer.core.errors import BadInputError, LCLStreamError
from lclstreamer.transport.peer import identity_of
from lclstreamer.transport.revocation import parse_list


@pytest.fixture
def facility(tmp_path):
    return service(tmp_path / "facility")


@pytest.fixture
def alice(tmp_path):
    return person(tmp_path / "alice", "alice")


def issue(facility, folder, user_id="alice", days=30.0):
    grant = Grant("person", person_name(user_id, user_id), "client", timedelta(days=days))
    return Authority(facility).issue(request_of(folder), grant, requested_by="test")


def test_it_survives_its_json_and_brings_the_services(facility, alice):
    introduction = replace(
        issue(facility, alice),
        services={"psik": "https://127.0.0.1:4433/api"},
        renewal="https://127.0.0.1:4434",
        revocation="http://127.0.0.1:8080/revoked.crl",
    )
    again = parse_introduction(json.dumps(introduction.to_json()))
    assert again == introduction
    paths = install(alice, again)
    assert [path.parent.name for path in paths] == ["id", "authorities", "known_servers"]
    assert read_service(alice, "psik").url == "https://127.0.0.1:4433/api"
    assert resolve(alice, "psik/jobs?x=1").url == "https://127.0.0.1:4433/api/jobs?x=1"


def test_it_is_refused_for_another_key(facility, alice, tmp_path):
    mallory = person(tmp_path / "mallory", "mallory")
    with pytest.raises(BadInputError, match="another key"):
        install(mallory, issue(facility, alice))


def test_a_replayed_older_one_is_refused(facility, alice, monkeypatch):
    from airflow_provider_lclstream.certified import certificates

    older = issue(facility, alice)
    monkeypatch.setattr(certificates, "BACKDATE", timedelta(0))
    install(alice, issue(facility, alice))
    with pytest.raises(BadInputError, match="replay"):
        install(alice, older)
    install(alice, older, overwrite=True)


def test_a_revoked_one_is_refused(facility, alice):
    introduction = issue(facility, alice)
    install(alice, introduction)
    authority = Authority(facility)
    authority.revoke("uid:alice", reason="lost")
    (alice.revoked / "facility.crl").write_bytes(authority.list_file.read_bytes())
    with pytest.raises(BadInputError, match="revoked"):
        install(alice, introduction)


def test_another_authority_of_the_same_name_is_refused(facility, alice, tmp_path):
    install(alice, issue(facility, alice))
    impostor = service(tmp_path / "impostor")
    with pytest.raises(BadInputError, match="another authority of the same name"):
        install(alice, issue(impostor, alice))


def test_an_alias_is_not_taken_over(facility, alice, tmp_path):
    install(alice, replace(issue(facility, alice), services={"psik": "https://127.0.0.1:1"}))
    rogue = service(tmp_path / "rogue", "rogue")
    with pytest.raises(BadInputError, match="already means"):
        install(alice, replace(issue(rogue, alice), services={"psik": "https://127.0.0.1:2"}))
    assert read_service(alice, "psik").url == "https://127.0.0.1:1"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"signed_cert": None}, "lacks 'signed_cert'"),
        ({"ca_cert": "AAAA"}, "no certificate"),
        ({"ca_cert": "ä"}, "base64url"),
        ({"services": ["x"]}, "not an object"),
        ({"services": {"../../id": "https://x:1"}}, "alias"),
        ({"services": {"x": "http://x:1"}}, "not the URL"),
        ({"services": {"x": 3}}, "not the URL"),
        ({"services": {"x": "https://x:99999"}}, "not the URL"),
        ({"renewal": "ftp://x"}, "not a URL"),
    ],
)
def test_damaged_ones_are_named(facility, alice, change, what):
    document = issue(facility, alice).to_json() | change
    with pytest.raises(BadInputError, match=what):
        parse_introduction(json.dumps(document))


def test_parts_must_belong_together(facility, alice, tmp_path):
    mine, other = issue(facility, alice), issue(service(tmp_path / "other"), alice)
    for wrong, what in (
        (replace(mine, authority=other.authority), "did not sign"),
        (replace(mine, authority=mine.signed), "not an authority's"),
        (replace(mine, signed=mine.authority), "is an authority's"),
    ):
        with pytest.raises(BadInputError, match=what):
            parse_introduction(json.dumps(wrong.to_json()))


def test_only_authorities_are_trusted(facility, alice):
    with pytest.raises(BadInputError, match="not of an authority"):
        trust_authority(facility.known_clients, "alice", alice.own_certificate())
    trust_authority(facility.known_clients, "alice", alice.read_authority())
    with pytest.raises(BadInputError, match="alias"):
        trust_authority(facility.known_clients, "../x", alice.read_authority())


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """One sound introduction, request and list as bytes, to be damaged."""
    folder = tmp_path_factory.mktemp("samples")
    facility, client = service(folder / "facility"), person(folder / "alice", "alice")
    introduction = introduce(facility, client, "alice")
    authority = Authority(facility)
    request = to_pem(introduction.signed).encode()
    return {
        "introduction": json.dumps(introduction.to_json()).encode(),
        "pem": request,
        "der": introduction.signed.public_bytes(_der()),
        "list": authority.sign_list(),
    }, authority.certificate


def _der():
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(max_examples=300, deadline=2000, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["introduction", "pem", "der", "list"]),
    cut=st.integers(0, 3000),
    place=st.integers(0, 3000),
    noise=st.binary(max_size=40),
)
def test_truncated_and_damaged_bytes_give_a_clear_error_or_nothing(
    samples, kind, cut, place, noise
):
    """No traceback of another library and no hang, whatever arrives."""
    sound, authority = samples
    data = sound[kind][: cut or None]
    data = data[:place] + noise + data[place + len(noise) :]
    readers = {
        "introduction": [parse_introduction],
        "pem": [read_request, read_certificate],
        "der": [identity_of],
        "list": [lambda raw: parse_list(raw, [authority])],
    }
    for read in readers[kind]:
        with contextlib.suppress(LCLStreamError):
            read(data)


def test_what_is_too_long_is_refused_unread():
    for read in (read_request, read_certificate):
        with pytest.raises(BadInputError, match="too many"):
            read(b"x" * 70_000)
    with pytest.raises(BadInputError, match="too many"):
        parse_introduction(b"[" * 2_000_000)
    with pytest.raises(BadInputError, match="not JSON"):
        parse_introduction(b"[" * 500_000)
