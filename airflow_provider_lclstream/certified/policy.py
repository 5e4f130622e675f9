"""What an authority is willing to certify: ``policy.yaml`` in its identity folder."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from airflow_provider_lclstream.certified.names import Kind
from lclstreamer.core.config_file import load_model
from lclstreamer.core.errors import PermissionDeniedError
from lclstreamer.parameters.base import StrictModel

Days = Annotated[int, Field(ge=1, le=3660)]


class Policy(StrictModel):
    """The rules of one authority. A missing file means these defaults."""

    person_days: Days = 365
    """Lifetime of a person's certificate, in days."""
    organisation_days: Days = 365
    """Lifetime of an organisation's certificate, in days."""
    service_days: Days = 365
    """Lifetime of a service's certificate, in days."""
    job_hours: Annotated[int, Field(ge=1, le=24 * 31)] = 72
    """Lifetime of a job's certificate, in hours."""
    revocation_list_days: Annotated[int, Field(ge=1, le=90)] = 7
    """How long a signed revocation list may be relied on, in days; it is signed again in time."""
    hosts: list[str] = ["*"]
    """Patterns of the hosts that server certificates may name, e.g. ``*.example.org``."""
    emails: list[str] = ["*"]
    """Patterns of the mail addresses that certificates may name, e.g. ``*@example.org``."""
    services: dict[str, str] = {}
    """Alias to URL of the services that introductions tell the introduced about."""
    renewal_url: str | None = None
    """Where `lclstream certified authority` listens; introductions tell it for renewals."""
    revocation_url: str | None = None
    """Where the revocation list can be fetched; stands in certificates and introductions."""

    def lifetime(self, kind: Kind) -> timedelta:
        """The longest validity of a certificate of this kind."""
        if kind == "job":
            return timedelta(hours=self.job_hours)
        days = {"person": self.person_days, "service": self.service_days}
        return timedelta(days=days.get(kind, self.organisation_days))

    def require_allowed(self, *, hosts: Sequence[str], emails: Sequence[str]) -> None:
        """Refuse names outside the policy's patterns.

        Raises:
            PermissionDeniedError: a host or address matches none of them.
        """
        for what, names, patterns in (
            ("host", hosts, self.hosts),
            ("address", emails, self.emails),
        ):
            for name in names:
                if not any(fnmatch.fnmatchcase(name.lower(), one.lower()) for one in patterns):
                    raise PermissionDeniedError(
                        f"the policy does not allow the {what} {name!r}",
                        mend=f"allow it in policy.yaml (it has {', '.join(patterns) or 'nothing'})",
                    )


def load_policy(path: Path) -> Policy:
    """Read ``policy.yaml``, or give the defaults where there is none.

    Raises:
        ConfigurationError: the file is wrong; every mistake with its position.
    """
    return load_model(path, Policy) if path.exists() else Policy()
