"""Mutual TLS on this machine: requests a second, latency, the cost of a handshake.

The server is `lclstream certified serve` in a process of its own; the clients are threads of
this one, or processes with ``--processes``. Prints one JSON document.

    python benchmarks/identity.py --clients 20 --rate 200 --seconds 60
"""

from __future__ import annotations

import argparse
import json
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from airflow_provider_lclstream.certified.authority import Authority
from airflow_provider_lclstream.certified.certificates import Grant
from airflow_provider_lclstream.certified.clients import http_client
from airflow_provider_lclstream.certified.contexts import client_ssl_context, server_ssl_context
from airflow_provider_lclstream.certified.creation import NewIdentity, create_identity
from airflow_provider_lclstream.certified.encoding import to_base64url, to_pem
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.introduction import install
from airflow_provider_lclstream.certified.key_requests import build_request, read_request
from airflow_provider_lclstream.certified.names import person_name, service_name
from airflow_provider_lclstream.certified.trust import TrustedService
from lclstreamer.transport.peer import distinguished_name

HOST = "127.0.0.1"
APPLICATION = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = scope["state"]["peer"].principal.encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


@dataclass
class Result:
    """What was measured. Times in milliseconds."""

    clients: int
    seconds: float = 0.0
    requests: int = 0
    refused: int = 0
    reconnects: int = 0
    requests_per_second: float = 0.0
    median_ms: float = 0.0
    p99_ms: float = 0.0
    problems: list[str] = field(default_factory=list)


def make_world(folder: Path, clients: int) -> tuple[IdentityFolder, list[IdentityFolder]]:
    """A service, and clients introduced to it."""
    server = IdentityFolder(folder / "server")
    create_identity(server, NewIdentity("service", service_name("bench"), hosts=[HOST]))
    authority = Authority(server)
    people = []
    for number in range(clients):
        person = IdentityFolder(folder / f"client{number}")
        name = person_name(f"user{number}", f"user{number}")
        create_identity(person, NewIdentity("person", name))
        request = read_request(to_pem(build_request(name, person.read_key())).encode())
        grant = Grant("person", name, "client", timedelta(days=1))
        install(person, authority.issue(request, grant, requested_by="benchmark"))
        people.append(person)
    return server, people


def start_server(folder: Path, server: IdentityFolder) -> tuple[subprocess.Popen[str], str]:
    """The server's process and its URL, once it answers."""
    (folder / "bench_app.py").write_text(APPLICATION)
    program = Path(sys.executable).with_name("lclstream")
    process = subprocess.Popen(
        [program, "certified", "serve", "bench_app:app", f"https://{HOST}:0",
         "--config", str(server.path)],
        cwd=folder, stdout=(folder / "log").open("w"), stderr=(folder / "err").open("w"), text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while "startup complete" not in (folder / "err").read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit((folder / "err").read_text())
        time.sleep(0.05)
    return process, json.loads((folder / "log").read_text().splitlines()[0])["listening"]


def load(
    server: IdentityFolder, people: list[IdentityFolder], url: str, rate: float, seconds: float
) -> Result:
    """Every client sends at its share of the rate and connects anew every 50 requests."""
    result, lock, times = Result(len(people)), threading.Lock(), []
    name = distinguished_name(server.read_authority().subject)
    service = TrustedService(url, to_base64url(server.read_authority()), [name])
    start = time.monotonic() + 0.5

    def work(number: int, person: IdentityFolder) -> None:
        import httpx2

        context, period = client_ssl_context(person, service), len(people) / rate
        sent, mine = 0, []
        client = http_client(context, base_url=url)
        while (due := start + (sent + number / len(people)) * period) < start + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            if sent and sent % 50 == 0:
                client.close()
                client = http_client(context, base_url=url)
            began = time.perf_counter()
            problem = None
            try:
                reply = client.get("/who")
                if reply.status_code != 200 or reply.text != f"uid:user{number}":
                    problem = f"{reply.status_code} {reply.text[:80]}"
            except httpx2.HTTPError as error:
                problem = repr(error)
            mine.append((time.perf_counter() - began) * 1000)
            sent += 1
            if problem:
                with lock:
                    result.refused += 1
                    result.problems.append(problem)
        client.close()
        with lock:
            result.requests += sent
            result.reconnects += (sent - 1) // 50
            times.extend(mine)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.seconds = time.monotonic() - start
    times.sort()
    result.median_ms, result.p99_ms = times[len(times) // 2], times[int(len(times) * 0.99)]
    result.requests_per_second = result.requests / result.seconds
    result.problems = result.problems[:5]
    return result


def handshake_ms(
    server: IdentityFolder, person: IdentityFolder, count: int = 300
) -> dict[str, float]:
    """Milliseconds of CPU for both sides of a handshake, with our check and without any of it."""
    name = distinguished_name(server.read_authority().subject)
    service = TrustedService(f"https://{HOST}", to_base64url(server.read_authority()), [name])
    ours = server_ssl_context(server), client_ssl_context(person, service)
    signed = next(person.client_certificates.glob("*.crt"))
    plain_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    plain_server.load_cert_chain(server.certificate, server.key)
    plain_server.verify_mode = ssl.CERT_REQUIRED
    plain_server.num_tickets = 0
    plain_client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    plain_client.load_cert_chain(signed, person.key)
    for context in (plain_server, plain_client):
        context.load_verify_locations(cadata=to_pem(server.read_authority()))
    return {
        "handshake_ms": _handshakes(*ours, count),
        "handshake_without_our_check_ms": _handshakes(plain_server, plain_client, count),
    }


def _handshakes(listening: ssl.SSLContext, connecting: ssl.SSLContext, count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        inner, outer = ssl.MemoryBIO(), ssl.MemoryBIO()
        sides = [
            connecting.wrap_bio(outer, inner, server_hostname=HOST),
            listening.wrap_bio(inner, outer, server_side=True),
        ]
        while sides:
            for side in list(sides):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                sides.remove(side)
    return (time.process_time() - began) * 1000 / count


def measure(clients: int, rate: float, seconds: float) -> dict[str, object]:
    """The whole benchmark."""
    with tempfile.TemporaryDirectory(prefix="identity-bench-") as name:
        folder = Path(name)
        server, people = make_world(folder, clients)
        cost = handshake_ms(server, people[0])
        process, url = start_server(folder, server)
        try:
            result = load(server, people, url, rate, seconds)
        finally:
            process.terminate()
            process.wait(15)
        lines = (folder / "log").read_text().splitlines()[1:]
        return {**asdict(result), **cost, "logged_requests": len(lines)}


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rate", type=float, default=200, help="requests a second, all together")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    print(json.dumps(measure(options.clients, options.rate, options.seconds), indent=2))


if __name__ == "__main__":
    main()
