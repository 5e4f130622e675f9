"""``lclstream certified``: make an identity, be introduced, introduce others, take it back."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from airflow_provider_lclstream.certified.command_line import run_typer
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.subjects import Who, decide
from lclstreamer.core.errors import BadInputError
from lclstreamer.core.output import note, print_json

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Identities: keys, certificates, introductions, revocation, servers under mutual TLS.",
)

Config = Annotated[
    Path | None,
    typer.Option(help="identity folder [$LCLSTREAM_IDENTITY, $VIRTUAL_ENV/etc/certified]"),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what is there")]
Uid = Annotated[str | None, typer.Option(help="a person's login name")]
Org = Annotated[str | None, typer.Option(help="an organisation, with --unit")]
Unit = Annotated[str | None, typer.Option(help="the organisation's unit")]
Service = Annotated[str | None, typer.Option(help="a service's name, with --host")]
Job = Annotated[str | None, typer.Option(help="a job's name")]
Hosts = Annotated[list[str] | None, typer.Option("--host", help="name or address it serves on")]
Emails = Annotated[list[str] | None, typer.Option("--email", help="mail address")]


def certified_command(words: list[str]) -> int:
    """Run ``lclstream certified`` with these words and give its exit code."""
    from airflow_provider_lclstream.certified.serving_cli import add_serving

    add_serving(app)
    return run_typer(app, words, "lclstream certified")


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
    print(f"made the identity of a {kind} in {folder.path}")


@app.command()
def request(
    output: Annotated[Path | None, typer.Option("-o", help="write to a file")] = None,
    config: Config = None,
) -> None:
    """Print a request for a certificate, signed by the own key, to give to an authority."""
    from cryptography import x509

    from airflow_provider_lclstream.certified.certificates import build_request, to_pem
    from airflow_provider_lclstream.certified.files import write_file

    folder = IdentityFolder(config).require()
    own = folder.own_certificate()
    pem = to_pem(build_request(own.subject if own else x509.Name([]), folder.read_key()))
    if output:
        write_file(output, pem)
    else:
        sys.stdout.write(pem)


@app.command()
def introduce(
    request_file: Annotated[Path, typer.Argument(metavar="REQUEST", help="file, or - for stdin")],
    uid: Uid = None,
    name: Annotated[str | None, typer.Option(help="a person's name")] = None,
    org: Org = None,
    unit: Unit = None,
    service: Service = None,
    job: Job = None,
    host: Hosts = None,
    email: Emails = None,
    role: Annotated[Literal["client", "server"] | None, typer.Option()] = None,
    days: Annotated[float | None, typer.Option(help="shorter than the policy's lifetime")] = None,
    knows: Annotated[
        list[str] | None, typer.Option("--knows", help="ALIAS=URL of a service to tell about")
    ] = None,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="accept upstream's `get-ident`, which proves nothing")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="the name moves to this key; revoke the former ones")
    ] = False,
    config: Config = None,
) -> None:
    """Certify a requester under the name that YOU give, and print the introduction for them.

    Make sure first that the request really comes from that person or service: nothing that the
    request says about itself is believed, only its key is used.
    """
    import dataclasses
    import getpass

    from airflow_provider_lclstream.certified.authority import Authority
    from airflow_provider_lclstream.certified.certificates import read_request
    from airflow_provider_lclstream.certified.subjects import grant_for

    authority = Authority(IdentityFolder(config).require())
    asked = read_request(_read_input(request_file))
    kind, subject = decide(Who(name, uid, org, unit, service, job))
    longest = authority.policy.lifetime(kind)
    lifetime = timedelta(days=days) if days else longest
    authority.policy.require_allowed(hosts=host or [], emails=email or [])
    grant = grant_for(kind, subject, role, lifetime, hosts=host or [], emails=email or [])
    introduction = authority.issue(
        asked,
        grant,
        requested_by=f"operator {getpass.getuser()}",
        accept_unproven=unproven,
        replace=replace,
    )
    services = introduction.services | _services(knows or [])
    document = dataclasses.replace(introduction, services=services).to_json()
    note(f"claimed: {asked.claimed_subject.rfc4514_string() or 'nothing'}")
    note(f"certified: {grant.subject.rfc4514_string()} as {grant.role}")
    print_json(document)


@app.command("add-introduction")
def add_introduction(
    introduction: Annotated[Path, typer.Argument(help="the JSON file, or - for stdin")],
    overwrite: Overwrite = False,
    config: Config = None,
) -> None:
    """Install an introduction: the certificate, its authority and the services it tells about."""
    from airflow_provider_lclstream.certified.introduction import install, parse_introduction

    folder = IdentityFolder(config).require()
    parsed = parse_introduction(_read_input(introduction))
    for path in install(folder, parsed, overwrite=overwrite):
        print(path)


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
    from airflow_provider_lclstream.certified.certificates import to_base64url
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


@app.command("list")
def list_issued(
    principal: Annotated[
        str | None, typer.Argument(help="only of this one, e.g. uid:alice")
    ] = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """List what the own authority issued."""
    from airflow_provider_lclstream.certified.record import Record

    issues = Record(IdentityFolder(config).require().record).issues(principal=principal)
    if as_json:
        print_json([one.to_json() for one in issues])
        return
    for one in issues:
        print(f"{one.serial}  {one.status:<7}  {one.role:<6}  {one.not_after[:10]}  {one.subject}")


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
def revoke(
    which: Annotated[str, typer.Argument(help="a serial number, or a principal: uid:alice")],
    reason: Annotated[str, typer.Option(help='"superseded" leaves the key usable')] = "lost",
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Take back certificates that the own authority issued; servers refuse them within seconds."""
    from airflow_provider_lclstream.certified.authority import Authority

    done = Authority(IdentityFolder(config).require()).revoke(which, reason=reason)
    if as_json:
        print_json([one.to_json() for one in done])
    for one in () if as_json else done:
        print(f"revoked {one.serial} of {one.principal}")


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
    from airflow_provider_lclstream.certified.certificates import to_base64url, to_pem

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


def _read_input(path: Path) -> bytes:
    from airflow_provider_lclstream.certified.introduction import MAXIMUM_BYTES

    if str(path) == "-":
        return sys.stdin.buffer.read(MAXIMUM_BYTES + 1)
    try:
        with path.open("rb") as stream:
            return stream.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        raise BadInputError(
            f"the file cannot be read: {error.strerror}",
            mend="name a readable file, or - for standard input",
            where=str(path),
        ) from error


def _read_authority(path: Path) -> Any:
    """An authority's certificate: PEM, base64url, or the JSON of get-signer or an introduction."""
    import json

    from airflow_provider_lclstream.certified.certificates import is_authority, read_certificate

    data = _read_input(path)
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


def _services(pairs: list[str]) -> dict[str, str]:
    from airflow_provider_lclstream.certified.names import require_alias
    from airflow_provider_lclstream.certified.trust import require_service_url

    services: dict[str, str] = {}
    for pair in pairs:
        alias, _, url = pair.partition("=")
        services[require_alias(alias)] = require_service_url(url)
    return services
