"""A request to a service: how it is sent, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow_provider_lclstream.psik.access.refusals import refusal
from lclstreamer.core.errors import BadInputError, LCLStreamError

if TYPE_CHECKING:
    import httpx2

TIMEOUT_SECONDS = 60.0
"""How long a service may be silent, beyond what it was asked to wait."""
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """A request, and how its answer is read.

    Attributes:
        method: the HTTP method.
        path: below the service's URL.
        read: makes the answer of a successful reply; a ValueError means that it is none.
        params: the query.
        json: the body, as a document.
        headers: beyond the usual ones.
        files: parts of a form, as httpx2 takes them.
        is_repeatable: whether asking twice does no more than asking once.
        timeout_seconds: how long the service may be silent.
        refuse: makes the error of a reply without success; the service's name is given too.
    """

    method: str
    path: str
    read: Callable[[httpx2.Response], Answer]
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Any = None
    is_repeatable: bool = True
    timeout_seconds: float = TIMEOUT_SECONDS
    refuse: Callable[[httpx2.Response, str], LCLStreamError] = refusal

    def content(self) -> dict[str, Any]:
        """The arguments of httpx2's request methods."""
        return {
            "params": dict(self.params),
            "json": self.json,
            "headers": dict(self.headers),
            "files": self.files,
            "timeout": self.timeout_seconds,
        }

    def answer(self, reply: httpx2.Response, where: str) -> Answer:
        """Read a reply.

        Raises:
            LCLStreamError: it is a refusal, or cannot be understood.
        """
        if not reply.is_success:
            raise self.refuse(reply, where)
        try:
            return self.read(reply)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInputError(
                f"the answer to {self.method} {self.path} cannot be understood",
                where=where,
                mend="check that this is the URL of a Psik-API service, no older than this client",
            ) from error
