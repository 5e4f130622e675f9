"""The authority's commands of ``lclstream certified``: introduce, list, revoke."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.options import (
    Config,
    Emails,
    Hosts,
    Job,
    Json,
    Org,
    Service,
    Uid,
    Unit,
    read_input,
)
from airflow_provider_lclstream.certified.subjects import Who, decide
from lclstreamer.core.output import note, print_json


def add_authority(app: typer.Typer) -> None:
    """Add the commands to ``lclstream certified``."""
    app.command("introduce")(introduce)
    app.command("list")(list_issued)
    app.command("revoke")(revoke)


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
    from airflow_provider_lclstream.certified.key_requests import read_request
    from airflow_provider_lclstream.certified.subjects import grant_for

    authority = Authority(IdentityFolder(config).require())
    asked = read_request(read_input(request_file))
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
        sys.stdout.write(
            f"{one.serial}  {one.status:<7}  {one.role:<6}  {one.not_after[:10]}  {one.subject}\n"
        )


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
        sys.stdout.write(f"revoked {one.serial} of {one.principal}\n")


def _services(pairs: list[str]) -> dict[str, str]:
    from airflow_provider_lclstream.certified.names import require_alias
    from airflow_provider_lclstream.certified.trust import require_service_url

    services: dict[str, str] = {}
    for pair in pairs:
        alias, _, url = pair.partition("=")
        services[require_alias(alias)] = require_service_url(url)
    return services
