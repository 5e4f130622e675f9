"""What is told about an identity folder: findings, first of all about the dates of certificates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from airflow_provider_lclstream.certified.encoding import read_certificate_file
from airflow_provider_lclstream.certified.folder import IdentityFolder
from lclstreamer.core.errors import LCLStreamError
from lclstreamer.core.units import format_duration
from lclstreamer.transport.peer import PeerIdentity, identity_of

WARNING_BEFORE = timedelta(days=30)
"""From when on an approaching expiry is told; a short certificate's last third of its life."""

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or soon will be.

    Attributes:
        level: ``error`` where something does not work now, else ``warning``.
        where: the file.
        problem: what is wrong.
        mend: what to do about it.
    """

    level: Level
    where: str
    problem: str
    mend: str

    def to_json(self) -> dict[str, Any]:
        """The four facts."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.problem}\n  mend: {self.mend}"


def expiry_finding(path: Path, peer: PeerIdentity) -> Finding | None:
    """What to say about a certificate's dates, or None."""
    left = peer.seconds_left()
    lifetime = (peer.not_after - peer.not_before).total_seconds()
    mend = "renew it with `lclstream certified renew`"
    if left <= 0:
        what = f"the certificate of {peer.principal} expired {peer.not_after:%Y-%m-%d %H:%M} UTC"
        return Finding("error", str(path), what, "ask its authority for a new introduction")
    if peer.not_before > datetime.now(UTC):
        what = f"the certificate of {peer.principal} is valid only from {peer.not_before} on"
        return Finding("error", str(path), what, "set this machine's clock right, or wait")
    if left < min(WARNING_BEFORE.total_seconds(), lifetime / 3):
        what = f"the certificate of {peer.principal} expires in {format_duration(left)}"
        return Finding("warning", str(path), what, mend)
    return None


def expiry_warnings(folder: IdentityFolder) -> list[Finding]:
    """What to say about the dates of this identity's certificates; cheap enough for every call."""
    found: list[Finding] = []
    for path in folder.certificates():
        try:
            finding = expiry_finding(path, identity_of(read_certificate_file(path)))
        except LCLStreamError:
            continue  # whoever uses that file will be told
        found += [finding] if finding else []
    return found
