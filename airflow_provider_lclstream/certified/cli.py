"""``lclstream certified``: make an identity, be introduced, introduce others, take it back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from airflow_provider_lclstream.certified.authority_cli import add_authority
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.options import (
    Config,
    Emails,
    Hosts,
    Job,
    Json,
    Org,
    Overwrite,
    Service,
    Uid,
    Unit,
    read_input,
)
from airflow_provider_lclstream.certified.subjects import Who, decide
from lclstreamer.core.command_line import new_app, run_app
from lclstreamer.core.errors import BadInputError
from lclstreamer.core.output import note, print_json

app = new_app(
    "Identities: keys, certificates, introductions, revocation, servers under mutual TLS."
)


def certified_command(words: list[str]) -> int:
    """Run ``lclstream certified`` with these words and give its exit code."""
    from airflow_provider_lclstream.certified.serving_cli import add_serving

    add_serving(app)
    return run_app(app, words, "lclstream certified")


@app.command()
def init(
    name: Annotated[str | None, typer.Argument(help="a person's name")] = None,
    uid: Uid = None,
    org: Org = None,
    unit: Unit = None,
    service: Service = None,
    job: Job = None,
    host: Hosts = None,
    email: Emails = None,
    uri: Annotated[list[str] | None, typer.Option("--uri")] = None,
    key_type: Annotated[Literal["ed25519", "ecdsa"], typer.Option()] = "ed25519",
    passphrase: Annotated[bool, typer.Option("--passphrase", help="encrypt the keys")] = False,
    overwrite: Overwrite = False,
    config: Config = None,
) -> None:
    """Make a new identity: a person, an organisation, a service or a job."""
    from airflow_provider_lclstream.certified.creation import NewIdentity, create_identity
    from airflow_provider_lclstream.certified.keys import new_passphrase

    folder = IdentityFolder(config)
    kind, subject = decide(Who(name, uid, org, unit, service, job))
    identity = NewIdentity(
        kind,
        subject,
        email or [],
        host or [],
        uri or [],
        key_type,
        new_passphrase() if passphrase else None,
    )
    backup = create_identity(folder, identity, overwrite=overwrite)
    if backup:
        note(f"the former identity is in {backup}")
    print(f"made an identity ({kind}) in {folder.path}")


@app.command()
def request(
    output: Annotated[Path | None, typer.Option("-o", help="write to a file")] = None,
    config: Config = None,
) -> None:
    """Print a request for a certificate, signed by the own key, to give to an authority."""
    from cryptography import x509

    from airflow_provider_lclstream.certified.encoding import to_pem
    from airflow_provider_lclstream.certified.files import write_file
    from airflow_provider_lclstream.certified.key_requests import build_request

    folder = IdentityFolder(config).require()
    own = folder.own_certificate()
    pem = to_pem(build_request(own.subject if own else x509.Name([]), folder.read_key()))
    if output:
        write_file(output, pem)
    else:
        sys.stdout.write(pem)


add_authority(app)


@app.command("add-introduction")
def add_introduction(
    introduction: Annotated[Path, typer.Argument(help="the JSON file, or - for stdin")],
    overwrite: Overwrite = False,
    config: Config = None,
) -> None:
    """Install an introduction: the certificate, its authority and the services it tells about."""
    from airflow_provider_lclstream.certified.introduction import install, parse_introduction
    from lclstreamer.transport.peer import identity_of

    folder = IdentityFolder(config).require()
    parsed = parse_introduction(read_input(introduction))
    for path in install(folder, parsed, overwrite=overwrite):
        print(path)
    note(f"certified as {identity_of(parsed.signed).principal}")
    for alias, url in parsed.services.items():
        note(f"the service {alias} is at {url}")


app.command("add-intro", hidden=True)(add_introduction)  # upstream's name


@app.command("add-service")
def add_service_command(
    alias: str,
    certificate: Annotated[Path, typer.Argument(help="its authority's certificate")],
    url: Annotated[str | None, typer.Option(help="where it listens [https://ALIAS]")] = None,
    auth: Annotated[
        list[str] | None, typer.Option(help="authority whose clients it accepts")
    ] = None,
    overwrite: Overwrite = False,
    config: Config = None,
) -> None:
    """Trust a service under an alias."""
    from airflow_provider_lclstream.certified.encoding import to_base64url
    from airflow_provider_lclstream.certified.trust import TrustedService, add_service
    from lclstreamer.transport.peer import distinguished_name

    authority = _read_authority(certificate)
    own = distinguished_name(authority.subject)
    auths = [one for one in auth or [] if one != own] + [own]
    service = TrustedService(url or f"https://{alias}", to_base64url(authority), auths)
    print(add_service(IdentityFolder(config).require(), alias, service, overwrite=overwrite))


@app.command("add-client")
def add_client(
    name: str,
    certificate: Annotated[Path, typer.Argument(help="the certificate of the clients' authority")],
    overwrite: Overwrite = False,
    config: Config = None,
) -> None:
    """Accept the clients of an authority."""
    from airflow_provider_lclstream.certified.trust import trust_authority

    folder = IdentityFolder(config).require()
    authority = _read_authority(certificate)
    print(trust_authority(folder.known_clients, name, authority, overwrite=overwrite))


@app.command("add-server")
def add_server(
    name: str,
    certificate: Annotated[Path, typer.Argument(help="the certificate of the servers' authority")],
    overwrite: Overwrite = False,
    config: Config = None,
) -> None:
    """Trust an authority for servers without an alias, such as buffers (tls+tcp://)."""
    from airflow_provider_lclstream.certified.trust import trust_authority

    folder = IdentityFolder(config).require()
    authority = _read_authority(certificate)
    print(trust_authority(folder.known_servers, name, authority, overwrite=overwrite))


@app.command()
def show(as_json: Json = False, config: Config = None) -> None:
    """Show this identity: its certificates, the services it knows, whom it trusts."""
    from airflow_provider_lclstream.certified.overview import overview, render

    facts = overview(IdentityFolder(config).require())
    if as_json:
        print_json(facts)
    else:
        print(render(facts))


@app.command()
def renew(
    due: Annotated[bool, typer.Option("--due", help="only what expires soon; for cron")] = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Renew this identity's certificates under the same names, for the same key."""
    from airflow_provider_lclstream.certified.renewal import renew as renew_all

    done = renew_all(IdentityFolder(config).require(), only_due=due)
    if as_json:
        print_json([{"file": str(one.path), **one.peer.to_json()} for one in done])
    for one in () if as_json else done:
        print(f"{one.path}: valid until {one.peer.not_after:%Y-%m-%d %H:%M} UTC")


@app.command()
def refresh(config: Config = None) -> None:
    """Fetch the revocation lists of the authorities that introduced this identity."""
    from airflow_provider_lclstream.certified.revocation_follower import fetch_lists

    problems = fetch_lists(IdentityFolder(config).require())
    if problems:
        raise problems[0]


@app.command()
def export(
    what: Annotated[Literal["identity", "authority"], typer.Argument()] = "identity",
    pem: Annotated[bool, typer.Option("--pem", help="PEM instead of upstream's form")] = False,
    config: Config = None,
) -> None:
    """Print the own certificate (upstream: get-ident) or the own authority's (get-signer)."""
    from airflow_provider_lclstream.certified.encoding import to_base64url, to_pem

    folder = IdentityFolder(config).require()
    certificate = folder.read_authority() if what == "authority" else folder.own_certificate()
    if certificate is None:
        raise BadInputError(
            "this identity has no certificate yet", mend="send a request to an authority"
        )
    if pem:
        sys.stdout.write(to_pem(certificate))
    elif what == "authority":
        print_json({"ca_cert": to_base64url(certificate)})
    else:
        print(to_base64url(certificate))


@app.command()
def check(as_json: Json = False, config: Config = None) -> int:
    """Say what is wrong with this identity, and how to mend it. Exit code 78 if anything is."""
    from airflow_provider_lclstream.certified.check import check as check_folder
    from lclstreamer.core.errors import ConfigurationError

    folder = IdentityFolder(config)
    findings = check_folder(folder)
    if as_json:
        print_json([one.to_json() for one in findings])
    else:
        for one in findings:
            print(one)
        if not findings:
            print(f"{folder.path}: nothing is wrong")
    wrong = any(one.level == "error" for one in findings)
    return ConfigurationError.exit_code if wrong else 0


def _read_authority(path: Path) -> Any:
    """An authority's certificate: PEM, base64url, or the JSON of get-signer or an introduction."""
    import json

    from airflow_provider_lclstream.certified.encoding import is_authority, read_certificate

    data = read_input(path)
    if data.lstrip().startswith(b"{"):
        try:
            data = json.loads(data)["ca_cert"]
        except (ValueError, KeyError, RecursionError) as error:
            raise BadInputError(
                "this JSON has no ca_cert", mend="make it with `certified export authority`"
            ) from error
    certificate = read_certificate(data if isinstance(data, bytes) else str(data))
    if not is_authority(certificate):
        raise BadInputError(
            "this is the certificate of one participant, not of an authority",
            mend="ask for the one that `lclstream certified export authority` prints",
            where=str(path),
        )
    return certificate
