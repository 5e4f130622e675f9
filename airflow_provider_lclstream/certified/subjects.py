"""From what an operator typed to a certificate's subject and grant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509

from airflow_provider_lclstream.certified.certificates import Grant
from airflow_provider_lclstream.certified.names import (
    Kind,
    alternative_names,
    job_name,
    organisation_name,
    person_name,
    service_name,
)
from lclstreamer.core.errors import UsageError
from lclstreamer.transport.peer import Role


@dataclass(frozen=True)
class Who:
    """The options that name a participant, as they stand on the command line.

    Attributes:
        name: a person's name.
        uid: a person's login name.
        org: an organisation.
        unit: its unit.
        service: a service.
        job: a job.
    """

    name: str | None = None
    uid: str | None = None
    org: str | None = None
    unit: str | None = None
    service: str | None = None
    job: str | None = None


def decide(who: Who) -> tuple[Kind, x509.Name]:
    """What kind of participant this is, and its subject.

    Raises:
        UsageError: nobody is named, or more than one.
    """
    is_person = bool(who.name or who.uid)
    given = sum((is_person, bool(who.org or who.unit), bool(who.service), bool(who.job)))
    if given != 1:
        raise UsageError(
            "nobody is named" if given == 0 else "more than one participant is named",
            mend="name one: a person (NAME, --uid), --org with --unit, --service or --job",
        )
    if who.service:
        return "service", service_name(who.service)
    if who.job:
        return "job", job_name(who.job)
    if is_person:
        return "person", person_name(who.name or str(who.uid), who.uid)
    if not (who.org and who.unit):
        raise UsageError("an organisation has two names", mend="give both --org and --unit")
    return "organisation", organisation_name(who.org, who.unit)


def grant_for(
    kind: Kind,
    subject: x509.Name,
    role: Role | None,
    lifetime: timedelta,
    *,
    hosts: Sequence[str],
    emails: Sequence[str],
) -> Grant:
    """The grant an operator decided on. Only servers get hosts, and servers need one.

    Raises:
        UsageError: a server without hosts, or hosts for a client.
    """
    if role is None:
        role = "server" if kind in {"service", "organisation"} and hosts else "client"
    if role == "server" and not hosts:
        raise UsageError("a server needs the names it is called by", mend="add --host NAME")
    if role == "client" and hosts:
        raise UsageError("hosts are for servers", mend="leave --host out, or say --role server")
    names = alternative_names(hosts=hosts, emails=emails)
    return Grant(kind, subject, role, lifetime, names)
