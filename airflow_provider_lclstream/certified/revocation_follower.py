"""Revocation lists of other authorities, fetched over HTTP and kept new in the folder."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from airflow_provider_lclstream.certified.contexts import client_settings
from airflow_provider_lclstream.certified.encoding import read_certificate
from airflow_provider_lclstream.certified.files import make_folder, write_file
from airflow_provider_lclstream.certified.findings import expiry_warnings
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.trust import TrustedService, read_yaml
from lclstreamer.core.errors import BadInputError, LCLStreamError, UnavailableError
from lclstreamer.transport.peer import distinguished_name
from lclstreamer.transport.revocation import MAXIMUM_LIST_BYTES, load_lists, parse_list
from lclstreamer.transport.tls import client_context

logger = logging.getLogger(__name__)

FOLLOW_SECONDS = 2.0
"""How often a running server asks for a newer list; with the 1 s of `tls.LOOK_AGAIN_SECONDS` a
revocation counts well within 5 s."""

FETCH_TIMEOUT_SECONDS = 5.0
LOOK_AT_DATES_SECONDS = 86_400.0
FRESH_SECONDS = 600.0
"""A program that runs once fetches a list only if its copy is older than this."""


@dataclass
class FollowedAuthority:
    """An authority whose list is fetched.

    Attributes:
        certificate: the authority's, which must have signed the list.
        url: where the list is.
        file: where the copy lies.
        etag: of the last answer, so that an unchanged list costs next to nothing.
    """

    certificate: x509.Certificate
    url: str
    file: Path
    etag: str | None = field(default=None)


def followed_authorities(folder: IdentityFolder) -> list[FollowedAuthority]:
    """The authorities of this identity that told where their list is."""
    found: list[FollowedAuthority] = []
    for path in sorted(folder.authorities.glob("*.yaml")) if folder.authorities.is_dir() else ():
        content = read_yaml(path)
        url, cert = content.get("revocation"), content.get("cert")
        if isinstance(url, str) and isinstance(cert, str):
            copy = folder.revoked / f"{path.stem}.crl"
            found.append(FollowedAuthority(read_certificate(cert), url, copy))
    return found


def fetch_list(folder: IdentityFolder, authority: FollowedAuthority) -> bool:
    """Fetch one list and keep it if it is newer than the copy; whether it was.

    Raises:
        UnavailableError: nobody answered.
        BadInputError: the answer is no list of this authority, or older than the copy.
    """
    answer = _download(folder, authority)
    if answer is None:
        return False
    data, etag = answer
    fresh = parse_list(data, [authority.certificate], where=authority.url)
    if fresh is None:
        raise BadInputError(
            "the list is not signed by the authority it is said to be of",
            mend="tell the authority; somebody may be answering in its place",
            where=authority.url,
        )
    known = load_lists([authority.file], [authority.certificate]).get(fresh.authority)
    if known is not None and fresh.number < known.number:
        raise BadInputError(
            f"the list is older (number {fresh.number}) than the one known ({known.number})",
            mend="tell the authority; somebody may be answering in its place",
            where=authority.url,
        )
    authority.etag = etag  # only now: an answer that was refused must be looked at again
    if known is not None and fresh.number == known.number:
        authority.file.touch()
        return False
    make_folder(authority.file.parent)
    write_file(authority.file, data)
    return True


def _download(
    folder: IdentityFolder, authority: FollowedAuthority
) -> tuple[bytes, str | None] | None:
    """The answer and its ETag, or None where nothing has changed."""
    import httpx2

    headers = {"If-None-Match": authority.etag} if authority.etag else {}
    data = bytearray()
    try:
        with (
            httpx2.Client(
                verify=_verification(folder, authority),
                timeout=FETCH_TIMEOUT_SECONDS,
                trust_env=False,
            ) as client,
            client.stream("GET", authority.url, headers=headers) as reply,
        ):
            if reply.status_code == 304:
                return None
            if reply.status_code != 200:
                raise UnavailableError(
                    f"the revocation list was answered with {reply.status_code}",
                    mend="ask the authority where its list is",
                    where=authority.url,
                )
            for chunk in reply.iter_bytes():
                data += chunk
                if len(data) > MAXIMUM_LIST_BYTES:
                    raise BadInputError(
                        "the list is too large", mend="tell the authority", where=authority.url
                    )
            etag: str | None = reply.headers.get("ETag")
    except httpx2.HTTPError as error:
        raise UnavailableError(
            f"the revocation list cannot be fetched: {error}",
            mend="check that the authority is running and can be reached",
            where=authority.url,
        ) from error
    return bytes(data), etag


def _verification(folder: IdentityFolder, authority: FollowedAuthority) -> Any:
    # Lists are signed, so plain HTTP will do; over HTTPS the authority's own server is expected.
    if not authority.url.startswith("https://"):
        return False
    from airflow_provider_lclstream.certified.encoding import to_base64url

    name = distinguished_name(authority.certificate.subject)
    service = TrustedService(authority.url, to_base64url(authority.certificate), [name])
    return client_context(client_settings(folder, service))


def fetch_lists(folder: IdentityFolder, *, older_than_seconds: float = 0) -> list[LCLStreamError]:
    """Fetch every list whose copy is older than this; what went wrong, one error each."""
    problems: list[LCLStreamError] = []
    for authority in followed_authorities(folder):
        try:
            age = time.time() - authority.file.stat().st_mtime
        except OSError:
            age = float("inf")
        if age < older_than_seconds:
            continue
        try:
            fetch_list(folder, authority)
        except LCLStreamError as error:
            problems.append(error)
    return problems


class RevocationFollower:
    """A thread beside a server: keeps its revocation lists new, and warns before certificates end.

    It fetches the lists of the folder's authorities every two seconds and looks at the dates of
    the folder's certificates once a day.
    """

    def __init__(self, folder: IdentityFolder, *, every_seconds: float = FOLLOW_SECONDS) -> None:
        self._folder = folder
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._complained: dict[str, str] = {}
        self._looked_at_dates = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="revocations", daemon=True)

    def __enter__(self) -> RevocationFollower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(FETCH_TIMEOUT_SECONDS)

    def _run(self) -> None:
        authorities: dict[str, FollowedAuthority] = {}
        while not self._stopped.is_set():
            try:
                for one in followed_authorities(self._folder):
                    self._follow(authorities.setdefault(one.url, one))
            except (LCLStreamError, OSError) as error:
                self._complain("the folder", error)
            self._look_at_dates()
            self._stopped.wait(self._every_seconds)

    def _look_at_dates(self) -> None:
        if time.monotonic() - self._looked_at_dates < LOOK_AT_DATES_SECONDS:
            return
        self._looked_at_dates = time.monotonic()
        for finding in expiry_warnings(self._folder):
            logger.warning("certificate", extra=finding.to_json())

    def _follow(self, authority: FollowedAuthority) -> None:
        try:
            if fetch_list(self._folder, authority):
                logger.info("newer revocation list", extra={"url": authority.url})
            self._complained.pop(authority.url, None)
        except LCLStreamError as error:
            self._complain(authority.url, error)

    def _complain(self, about: str, error: Exception) -> None:
        """Say each trouble once, not every two seconds."""
        if self._complained.get(about) != str(error):
            logger.warning("revocation list not fetched", extra={"why": str(error)})
            self._complained[about] = str(error)
