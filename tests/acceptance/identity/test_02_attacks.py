"""Issue 3, line 2: every attack of the reference fails, clearly and at once."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import ssl
import time
from datetime import timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from identities import (
    LOOPBACK,
    forge,
    introduce,
    organisation,
    person,
    request_of,
    service,
    stem_of,
    use_forged,
)

from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.certificates import Grant
from airflow_provider_lclstream.certified.contexts import (
    client_settings,
    client_ssl_context,
    server_settings,
)
from airflow_provider_lclstream.certified.encoding import to_base64url, to_pem
from airflow_provider_lclstream.certified.key_requests import build_request
from airflow_provider_lclstream.certified.names import person_name, service_name
from airflow_provider_lclstream.certified.trust import TrustedService
from lclstreamer.transport.peer import identity_of
from lclstreamer.transport.tls import Credential, TlsSettings, client_context, server_context

APPLICATION = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        data = scope["state"]["peer"].principal.encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": data})
"""


@pytest.fixture
def server(tmp_path, processes, wait_for):
    (tmp_path / "who.py").write_text(APPLICATION)
    folder = organisation(tmp_path / "server")
    running = processes.start(
        ["lclstream", "certified", "serve", "who:app", f"https://{LOOPBACK}:0",
         "--config", folder.path], cwd=tmp_path,
    )  # fmt: skip
    wait_for(lambda: "startup complete" in running.stderr)
    folder.url = json.loads(running.stdout.splitlines()[0])["listening"]
    folder.running = running
    yield folder
    assert "Traceback" not in running.stderr
    assert running.process.poll() is None, "an attack stopped the server"


@pytest.fixture
def mallory(tmp_path):
    return person(tmp_path / "mallory", "mallory")


def ask(server, context: ssl.SSLContext) -> str | None:
    """What the server answers to a client with this context; None where it refuses."""
    port = int(server.url.rsplit(":", 1)[1])
    began = time.monotonic()
    try:
        with (
            socket.create_connection((LOOPBACK, port), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname=LOOPBACK) as wrapped,
        ):
            wrapped.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            reply = b""
            while chunk := wrapped.recv(4096):
                reply += chunk
    except OSError:
        return None
    finally:
        assert time.monotonic() - began < 4, "the refusal took too long"
    return reply.partition(b"\r\n\r\n")[2].decode() if reply.startswith(b"HTTP/1.1 200") else None


def trusting(server) -> TrustedService:
    return TrustedService(server.url, to_base64url(server.read_authority()), [stem_of(server)])


def context_of(folder, server) -> ssl.SSLContext:
    return client_ssl_context(folder, trusting(server))


def forged_client(server, mallory, **options) -> ssl.SSLContext:
    """Mallory with a certificate that the real authority's key has signed, but wrongly."""
    key = ed25519.Ed25519PrivateKey.generate()
    certificate = forge(server, person_name("Mallory", "mallory"), key=key, **options)
    use_forged(mallory, certificate, key)
    settings = TlsSettings(
        mallory.credential(mallory.certificate), (to_pem(server.read_authority()),)
    )
    return client_context(settings)


def test_the_honest_client_is_served(server, tmp_path):
    alice = person(tmp_path / "alice", "alice")
    introduce(server, alice, "alice")
    assert "uid:alice" in ask(server, context_of(alice, server))


def test_stolen_name(server, mallory, tmp_path, processes):
    """Mallory's request claims UID=alice. She gets the name that the operator gives, or none."""
    alice = person(tmp_path / "alice", "alice")
    introduce(server, alice, "alice")
    claim = tmp_path / "claim.csr"
    claim.write_text(to_pem(build_request(person_name("Alice", "alice"), mallory.read_key())))
    words = ["lclstream", "certified", "introduce", claim, "--config", server.path]
    given = processes.run([*words, "--uid", "mallory"])
    document = json.loads(given.stdout)
    from airflow_provider_lclstream.certified.introduction import install, parse_introduction

    install(mallory, parse_introduction(given.stdout))
    assert "uid:mallory" in ask(server, context_of(mallory, server))
    assert document["signed_cert"]
    refused = processes.run([*words, "--uid", "alice"])
    assert refused.process.returncode == 77
    assert "already certified for another key" in refused.stderr
    assert processes.run(words).process.returncode == 64  # no name given: nothing is copied


def test_stolen_server_name(server, mallory, tmp_path):
    """The reference's attack: a certificate with the service's SAN, used to impersonate it."""
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(service_name("psik"))
    csr = builder.add_extension(names, critical=False).sign(mallory.read_key(), None)
    from airflow_provider_lclstream.certified.key_requests import read_request

    grant = Grant("person", person_name("M", "mallory"), "client", timedelta(days=1))
    signed = (
        Authority(server)
        .issue(read_request(to_pem(csr).encode()), grant, requested_by="operator")
        .signed
    )
    assert identity_of(signed).hosts == ()
    assert identity_of(signed).roles == {"client"}
    mallory.certificate.write_text(to_pem(signed))
    rogue = TlsSettings(mallory.credential(mallory.certificate), (mallory.known_clients,))
    assert not _impersonates(server, rogue, person(tmp_path / "alice", "alice"))


def test_client_certificate_used_as_server(server, mallory, tmp_path):
    key = ed25519.Ed25519PrivateKey.generate()
    certificate = forge(
        server, service_name("psik"), key=key, hosts=[x509.IPAddress(ip_address(LOOPBACK))]
    )
    use_forged(mallory, certificate, key)
    rogue = TlsSettings(mallory.credential(mallory.certificate), (mallory.known_clients,))
    assert not _impersonates(server, rogue, person(tmp_path / "alice", "alice"))


def _impersonates(server, rogue: TlsSettings, victim) -> bool:
    """Whether a victim that trusts the real authority completes a handshake with the rogue."""
    listening, connecting = (
        server_context(rogue),
        client_context(client_settings(victim, trusting(server))),
    )
    inner, outer = ssl.MemoryBIO(), ssl.MemoryBIO()
    answering = listening.wrap_bio(inner, outer, server_side=True)
    asking = connecting.wrap_bio(outer, inner, server_hostname=LOOPBACK)
    for _ in range(4):
        for side in (asking, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
            if side is asking:
                return True
    return False


def test_the_rogue_server_of_these_tests_would_work_with_a_good_certificate(server, tmp_path):
    """So that the tests above fail for the certificate and not for the harness."""
    assert _impersonates(server, server_settings(server), person(tmp_path / "alice", "alice"))


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("expired", {"start_seconds": -7200, "end_seconds": -60}),
        ("not yet valid", {"start_seconds": 3600, "end_seconds": 7200}),
        ("server certificate used by a client", {"roles": [ExtendedKeyUsageOID.SERVER_AUTH]}),
        ("no usage at all", {"roles": []}),
        ("another usage", {"roles": [ExtendedKeyUsageOID.CODE_SIGNING]}),
        ("an authority's certificate", {"is_authority": True}),
    ],
)
def test_certificates_that_the_real_key_signed_wrongly(server, mallory, what, options):
    assert ask(server, forged_client(server, mallory, **options)) is None, what


def test_the_forgery_of_these_tests_would_work_if_it_were_sound(server, mallory):
    assert "uid:mallory" in ask(server, forged_client(server, mallory))


def test_revoked(server, tmp_path):
    alice = person(tmp_path / "alice", "alice")
    introduce(server, alice, "alice")
    context = context_of(alice, server)
    assert ask(server, context) is not None
    Authority(server).revoke("uid:alice", reason="lost")
    deadline = time.monotonic() + 5
    while ask(server, context) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_foreign_authority_of_the_same_name(server, mallory, tmp_path):
    impostor = organisation(tmp_path / "impostor")
    assert impostor.read_authority().subject == server.read_authority().subject
    introduce(impostor, mallory, "alice")
    settings = client_settings(mallory, trusting(server))
    shown = next(mallory.client_certificates.glob("*.crt"))
    context = client_context(TlsSettings(mallory.credential(shown), settings.authorities))
    assert ask(server, context) is None


def test_issuer_key_exchanged(server, mallory):
    """The real authority's certificate as issuer, mallory's own key as signer."""
    stranger = ed25519.Ed25519PrivateKey.generate()
    assert ask(server, forged_client(server, mallory, signer=stranger)) is None


def test_self_signed(server, mallory):
    key = ed25519.Ed25519PrivateKey.generate()
    lonely = forge(server, person_name("Alice", "alice"), key=key, signer=key)
    use_forged(mallory, lonely, key)
    settings = TlsSettings(
        mallory.credential(mallory.certificate), (to_pem(server.read_authority()),)
    )
    assert ask(server, client_context(settings)) is None


def test_no_certificate(server):
    settings = TlsSettings(None, (to_pem(server.read_authority()),))
    assert ask(server, client_context(settings)) is None


def test_a_leaf_used_as_an_authority(server, mallory, tmp_path):
    """Alice's honest certificate must not be able to sign a certificate for the name root."""
    alice = person(tmp_path / "alice", "alice")
    introduction = introduce(server, alice, "alice")
    key = ed25519.Ed25519PrivateKey.generate()
    child = forge(
        server, person_name("Root", "root"), key=key,
        issuer=introduction.signed, signer=alice.read_key(),
    )  # fmt: skip
    use_forged(mallory, child, key)
    with mallory.certificate.open("a") as stream:
        stream.write(to_pem(introduction.signed))
    settings = TlsSettings(
        mallory.credential(mallory.certificate), (to_pem(server.read_authority()),)
    )
    assert ask(server, client_context(settings)) is None


def test_someone_elses_certificate_without_its_key(server, mallory, tmp_path):
    alice = person(tmp_path / "alice", "alice")
    introduction = introduce(server, alice, "alice")
    mallory.certificate.write_text(to_pem(introduction.signed))
    from lclstreamer.core.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="mismatch"):
        client_context(
            TlsSettings(
                Credential(mallory.certificate, mallory.key), (to_pem(server.read_authority()),)
            )
        )


def test_replayed_introduction(server, mallory, tmp_path, processes):
    """Another's introduction is useless, and a revoked one cannot be brought back."""
    alice = person(tmp_path / "alice", "alice")
    introduction = introduce(server, alice, "alice")
    file = tmp_path / "introduction.json"
    file.write_text(json.dumps(introduction.to_json()))
    stolen = processes.run(
        ["lclstream", "certified", "add-introduction", file, "--config", mallory.path]
    )
    assert stolen.process.returncode == 65
    assert "another key" in stolen.stderr
    authority = Authority(server)
    authority.revoke("uid:alice", reason="lost")
    (alice.revoked / "facility.crl").write_bytes(authority.list_file.read_bytes())
    replayed = processes.run(
        ["lclstream", "certified", "add-introduction", file, "--overwrite", "--config", alice.path]
    )
    assert replayed.process.returncode == 65
    assert "revoked" in replayed.stderr
    again = processes.run(
        ["lclstream", "certified", "introduce", _request_file(tmp_path, alice), "--uid", "alice",
         "--config", server.path]
    )  # fmt: skip
    assert again.process.returncode == 77
    assert "not certified again" in again.stderr


def _request_file(tmp_path, folder):
    path = tmp_path / "again.csr"
    path.write_text(to_pem(build_request(person_name("a"), folder.read_key())))
    return path


def test_a_request_whose_signature_was_exchanged(server, mallory, tmp_path, processes):
    csr = build_request(person_name("x"), mallory.read_key())
    der = bytearray(csr.public_bytes(Encoding.DER))
    der[-1] ^= 1
    import base64

    file = tmp_path / "damaged"
    file.write_bytes(base64.urlsafe_b64encode(bytes(der)))
    done = processes.run(
        ["lclstream", "certified", "introduce", file, "--uid", "x", "--config", server.path]
    )
    assert done.process.returncode == 65
    assert "not signed by the key" in done.stderr


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_truncated_and_fuzzed_files_at_every_command(server, mallory, tmp_path, figure):
    """No traceback, no hang: commands that read what others send get damaged files."""
    import random

    from airflow_provider_lclstream.certified.cli import certified_command
    from lclstreamer.core.output import run_command

    request = to_pem(build_request(person_name("x"), mallory.read_key())).encode()
    grant = Grant("person", person_name("m", "m"), "client", timedelta(days=1))
    introduction = json.dumps(
        Authority(server).issue(request_of(mallory), grant, requested_by="x").to_json()
    ).encode()
    commands = (
        (["introduce", "{}", "--uid", "victim", "--config", str(server.path)], request),
        (["add-introduction", "{}", "--config", str(mallory.path)], introduction),
        (["add-service", "svc", "{}", "--config", str(mallory.path)], introduction),
        (["add-client", "cli", "{}", "--config", str(mallory.path)], introduction),
    )
    chance, tried, file = random.Random(3), 0, tmp_path / "input"
    began = time.monotonic()
    for words, sound in commands:
        for _ in range(100):
            data = bytearray(sound[: chance.randint(0, len(sound))])
            for _ in range(chance.randint(0, 4)):
                if data:
                    data[chance.randrange(len(data))] = chance.randrange(256)
            file.write_bytes(bytes(data))
            arguments = [str(file) if word == "{}" else word for word in words]
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                code = run_command(lambda a=arguments: certified_command(a))
            assert code != 70, (arguments, bytes(data))
            tried += 1
    figure("damaged_inputs_refused_cleanly", tried)
    figure("seconds_per_damaged_input", (time.monotonic() - began) / tried)


def test_rubbish_on_the_socket_neither_stops_nor_delays_the_server(server, tmp_path):
    port = int(server.url.rsplit(":", 1)[1])
    alice = person(tmp_path / "alice", "alice")
    introduce(server, alice, "alice")
    idle = [socket.create_connection((LOOPBACK, port), timeout=5) for _ in range(20)]
    for index, connection in enumerate(idle):
        connection.sendall(bytes([index]) * 100 if index % 2 else b"GET / HTTP/1.1\r\n\r\n")
    began = time.monotonic()
    assert "uid:alice" in ask(server, context_of(alice, server))
    assert time.monotonic() - began < 2
    for connection in idle:
        connection.close()


def test_a_service_never_trusts_its_clients_for_other_names(server, tmp_path):
    """Two authorities may know an alice; rights go to the name and the authority together."""
    first = person(tmp_path / "a", "alice")
    second = person(tmp_path / "b", "alice")
    introduce(server, first, "alice")
    here = identity_of(introduce(service(tmp_path / "other"), second, "alice").signed)
    there = Authority(server).record.issues(principal="uid:alice")[0]
    from airflow_provider_lclstream.certified.encoding import read_certificate

    mine = identity_of(read_certificate(there.certificate))
    assert here.principal == mine.principal
    assert here.owner != mine.owner
