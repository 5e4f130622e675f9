"""Parameters of the handlers: where serialised messages go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lclstreamer.core.errors import BadInputError
from lclstreamer.parameters.base import StrictModel
from lclstreamer.transport.url import Endpoint, parse_endpoint

Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400)]


def _checked_name_part(text: str) -> str:
    if "/" in text or "\0" in text:
        raise ValueError("must not contain '/': the folder is write_directory")
    return text


def _checked_suffix(text: str) -> str:
    suffix = _checked_name_part(text).lstrip(".")
    if not suffix:
        raise ValueError("must not be empty, write for example h5")
    return suffix


class BinaryFileWritingDataHandlerParameters(StrictModel):
    """Write every message to a file ``<prefix_>r<rank>_<number>.<suffix>``.

    A file appears under its name when it is complete, never before. A file of that name left by an
    earlier run is replaced.
    """

    type: Literal["BinaryFileWritingDataHandler"]

    file_prefix: Annotated[str, Field(max_length=200), AfterValidator(_checked_name_part)] = ""
    """Put before the name; an underscore is added where it does not end in one."""

    file_suffix: Annotated[str, Field(max_length=40), AfterValidator(_checked_suffix)] = "h5"
    """The name's ending, with or without its dot."""

    write_directory: Path = Path()
    """Folder for the files, made if missing; relative to where the program is started."""

    sync_to_disk: bool = False
    """Whether each file is forced to the disk before it gets its name (slow, survives a crash of
    the machine)."""

    @property
    def name_prefix(self) -> str:
        """What every file name starts with, its underscore included."""
        joint = "" if self.file_prefix.endswith("_") or not self.file_prefix else "_"
        return self.file_prefix + joint


def _checked_url(url: str) -> str:
    try:
        parse_endpoint(url)
    except BadInputError as error:
        raise ValueError(f"{error.problem}; {error.mend}") from error
    return url


def _implied_library(url: str) -> str | None:
    """What the scheme says; plain ``tcp`` leaves it to the key ``library``."""
    return None if url.startswith("tcp:") else parse_endpoint(url).protocol


class BinaryDataStreamingDataHandlerParameters(StrictModel):
    """Push every message into a socket.

    A receiver that is slow slows the run down; nothing is dropped. At the end the handler waits
    until everything is sent and, where the peer can tell, has arrived.
    """

    type: Literal["BinaryDataStreamingDataHandler"]

    urls: Annotated[
        list[Annotated[str, AfterValidator(_checked_url)]],
        Field(min_length=1, max_length=1024),
    ]
    """Where to dial (role ``client``) or listen (role ``server``): ``tcp://host:port``, with the
    protocol named by `library`, or ``zmq+tcp://…`` and ``nng+tcp://…``."""

    role: Literal["client", "server"] = "client"
    """Whether this side dials the urls or listens on them."""

    library: Literal["zmq", "nng"] | None = None
    """The protocol of plain ``tcp://`` urls: ZeroMQ (as upstream, where nothing is said) or nng's
    scalability protocols."""

    socket_type: Literal["push"] = "push"
    """Each message goes to exactly one receiver."""

    distribute: bool = False
    """With several urls: true gives each rank one of them (rank r takes number r modulo their
    count); false lets each rank deal its messages over all of them. No message is ever sent
    twice."""

    buffer: Annotated[int, Field(strict=True, ge=0, le=2**40)] = 0
    """Bytes that may wait to be sent, per url; 0 takes the default of 64 MiB."""

    linger: Annotated[int, Field(strict=True, ge=-1, le=86_400_000)] = 0
    """Upstream's key, in milliseconds. Above 0 it replaces `close_timeout_seconds`; 0 and -1 leave
    it alone, because unsent messages are never thrown away here."""

    connect_timeout_seconds: Seconds = 60.0
    """How long to wait for the receiver to be there."""

    send_timeout_seconds: Seconds = 600.0
    """How long one message may wait for a slow receiver before the run fails."""

    close_timeout_seconds: Seconds = 600.0
    """How long the end of the run may wait for what is still unsent or unconfirmed."""

    @model_validator(mode="after")
    def _library_fits_urls(self) -> BinaryDataStreamingDataHandlerParameters:
        for url in self.urls:
            implied = _implied_library(url)
            if implied and self.library and implied != self.library:
                raise ValueError(f"{url} is a {implied} url but library is {self.library}")
        return self

    def endpoints(self) -> tuple[Endpoint, ...]:
        """The urls as addresses, each with its protocol."""
        return tuple(
            parse_endpoint(url)
            if _implied_library(url)
            else replace(parse_endpoint(url), protocol=self.library or "zmq")
            for url in self.urls
        )


DataHandlerParameters = Annotated[
    BinaryFileWritingDataHandlerParameters | BinaryDataStreamingDataHandlerParameters,
    Field(discriminator="type"),
]
"""Any handler."""
