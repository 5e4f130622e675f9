"""What is asked for: one transfer of one run.

The same model validates the trigger form, REST, the logbook's run events and the DAG run's conf.
It holds no secret, because Airflow shows a run's conf to everybody who can see the run.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.units import parse_bytes
from lclstreamer.parameters.base import StrictModel
from lclstreamer.parameters.configuration import StreamerConfiguration
from lclstreamer.parameters.psana_identifier import read_psana_identifier

MEBIBYTE = 2**20


def _size(value: object) -> object:
    """``256 MiB`` as a number of bytes; anything else is left to pydantic."""
    if not isinstance(value, str):
        return value
    try:
        return parse_bytes(value)
    except BadInputError as error:
        raise ValueError(f"{error.problem}; {error.mend}") from error


SIZE_SCHEMA = {
    # Text first: Airflow's form takes the first type, and numbers can be written as text.
    "type": ["string", "integer"],
    "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*([KkMmGgTt][Ii]?)?[Bb]?\s*$",
    "minimum": MEBIBYTE,
    "maximum": 2**46,
}
"""A size in bytes, as a number or as text with a unit."""

Size = Annotated[
    int,
    Field(ge=MEBIBYTE, le=2**46),
    BeforeValidator(_size),
    WithJsonSchema(SIZE_SCHEMA, mode="validation"),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Seconds = Annotated[float, Field(gt=0, le=7 * 86_400)]


class TransferRequest(StrictModel):
    """One run of one experiment, to be streamed through a buffer to whoever pulls.

    ``streamer`` is the configuration of `lclstreamer`, in any form that `lclstreamer run` takes,
    without ``data_handlers``: where the messages go is decided when the buffer is up.
    """

    schema_command: ClassVar[str] = "lclstream transfer schema"

    experiment: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{2,63}$")]
    """The experiment's name in the logbook, e.g. ``mfxx00126``."""

    run_number: Annotated[int, Field(ge=0, le=10**6)]
    """The experiment's own count of runs, from 1."""

    run_oid: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = ""
    """The logbook's identity of the run; empty where a person asks."""

    streamer: StreamerConfiguration = Field(title="Streamer")
    """What is read and how it is packed."""

    ranks: Annotated[int, Field(ge=1, le=4096)] = 1
    """Processes that produce events. psana's own helper ranks come on top."""

    buffer_backend: Name = "default"
    """The job backend on which the buffer runs, e.g. the data-transfer node."""

    streamer_backend: Name = "default"
    """The job backend on which the streamer runs, e.g. the batch system."""

    protocol: Literal["nng", "zmq"] = "nng"
    """How the streamer talks to the buffer. Consumers may use either, whatever is chosen here."""

    allowed_consumers: tuple[Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,300}$")], ...] = ()
    """Who may pull: ``uid:alice``, ``cn:Some service``, ``job:r42`` … as their certificates say; by
    default everybody who reaches the buffer. Only where the site's data ports use TLS."""

    buffer_limit_bytes: Size = 256 * MEBIBYTE
    """Memory of the buffer; beyond it the streamer is slowed down. ``256 MiB`` may be written."""

    start_timeout_seconds: Seconds = 1800.0
    """How long the buffer waits for its first producer, the batch queue's waiting included."""

    idle_timeout_seconds: Seconds = 900.0
    """How long the buffer waits while nothing comes and nothing is taken."""

    drain_timeout_seconds: Seconds = 900.0
    """How long consumers may take for what is left after the last producer's end."""

    consumer_timeout_seconds: Annotated[float, Field(ge=0, le=7 * 86_400)] = 0.0
    """A consumer that acknowledges nothing for so long, while it has messages, is taken for hung,
    and others get them. It must be longer than the longest work on a message; 0: no limit."""

    streamer_duration_minutes: Annotated[int, Field(ge=1, le=10_080)] = 60
    """The streamer job's wall time."""

    streamer_node_count: Annotated[int, Field(ge=1, le=4096)] = 1
    """Nodes over which the streamer's processes are spread."""

    labels: dict[Name, Annotated[str, Field(max_length=200)]] = Field(default_factory=dict)
    """Words for people and programs, carried along: purpose, sample, requester …"""

    @field_validator("streamer", mode="before")
    @classmethod
    def _without_handlers(cls, streamer: Any) -> Any:
        if not isinstance(streamer, dict):
            return streamer
        head = streamer.get("lclstreamer")  # the paper's form has its own head
        if isinstance(head, dict):
            return {**streamer, "lclstreamer": {"data_handlers": [], **head}}
        return {"data_handlers": [], **streamer}

    @model_validator(mode="after")
    def _handlers_are_ours(self) -> Self:
        if self.streamer.data_handlers:
            raise ValueError(
                "streamer.data_handlers must be left out: the transfer sends to its own buffer"
            )
        return self

    @field_serializer("streamer")
    def _as_canonical(self, streamer: StreamerConfiguration) -> dict[str, Any]:
        return streamer.model_dump(mode="json", exclude={"data_handlers"})

    @property
    def needs_psana2(self) -> bool:
        """Whether psana deals the events to the ranks, and wants helper ranks for that.

        Single files (``files=…``) it reads alone in each rank; lclstreamer splits those itself.
        """
        if self.streamer.event_source.type != "Psana2EventSource":
            return False
        identifier, _ = read_psana_identifier(self.streamer.source_identifier)
        return identifier.experiment is not None


def dag_run_id(experiment: str, run_number: int, run_oid: str) -> str:
    """The id of a transfer's DAG run: the same for every message about the same run.

    >>> dag_run_id("mfxx00126", 17, "6b00afd2050858c8cd1fedca")
    'lclstream__mfxx00126__r0017__6b00afd2050858c8cd1fedca'
    """
    return f"lclstream__{experiment}__r{run_number:04d}__{run_oid}"
