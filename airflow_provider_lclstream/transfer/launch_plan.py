"""From a request to the two jobs that carry it out. Pure: nothing is started here.

Both jobs are self-contained: the streamer's script writes its own configuration file, so a job
runs the same on any backend, whether or not it shares a file system with Airflow.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import Field

from airflow_provider_lclstream.psik.models import JobSpec, ResourceSpec
from airflow_provider_lclstream.transfer.models import TransferRequest
from airflow_provider_lclstream.transfer.site import SIZE_PLACEHOLDER, SiteSettings
from lclstreamer.core.errors import BadInputError, ConfigurationError
from lclstreamer.parameters.base import StrictModel

ENDPOINTS_FILE = "endpoints.json"
"""What the buffer writes into its work folder when it listens."""
DRAIN_FILE = "drain"
"""What asks the buffer, once it is in that folder, to deliver what it has and end."""
LEDGER_FILE = "ledger.json"
"""What the buffer writes there at its end."""
REPORT_PATTERN = "report.r*.json"
"""What each rank of the streamer writes into its work folder at its end."""
CONFIGURATION_FILE = "lclstreamer.yaml"

PSANA2_HELPER_RANKS = 2
"""psana2 keeps rank 0 for small data and one rank for building events; neither yields any."""
PSANA2_ENVIRONMENT = {
    "PS_EB_NODES": "1",
    # psana deals out this many events at a time: with its default of 20000 one rank of a short
    # run would get them all.
    "PS_SMD_N_EVENTS": "20",
}
_END_MARK = "END_OF_LCLSTREAMER_CONFIGURATION"
_SPARE_SECONDS = 120.0
_ONE_BY_ONE = """\
ranks=
for rank in $(seq 0 {last}); do
  PMI_RANK=$rank PMI_SIZE={size} {command} &
  ranks="$ranks $!"
done
code=0
for rank in $ranks; do wait "$rank" || code=$?; done
exit $code"""


class BufferEndpoints(StrictModel):
    """What the buffer's ``endpoints.json`` says."""

    version: int = 1
    state: str = "ready"
    inlets: Mapping[str, str] = Field(default_factory=dict)
    """Protocol (``nng``, ``zmq``) → the URL that producers push to."""
    outlets: Mapping[str, str] = Field(default_factory=dict)
    """Protocol → the URL that consumers pull from."""
    admin: str = ""
    """The address of ``/status``, ``/drain`` and ``/metrics``."""
    pid: int = 0


def read_endpoints(document: object) -> BufferEndpoints:
    """The endpoints from the JSON object that the buffer published.

    Raises:
        BadInputError: it has no inlet or no outlet.
    """
    known = (
        {key: value for key, value in document.items() if key in BufferEndpoints.model_fields}
        if isinstance(document, dict)
        else {}
    )
    if not known.get("inlets") or not known.get("outlets"):
        raise BadInputError(
            f"the buffer's endpoints lack inlets or outlets: {document!r}",
            mend="look at the log of the buffer's job; it may have written another version",
        )
    return BufferEndpoints.model_validate(known)


def plan_buffer(request: TransferRequest, site: SiteSettings) -> JobSpec:
    """The job that buffers the stream, from before the streamer until everything is taken.

    Raises:
        ConfigurationError: the request wants what the site's data ports cannot give.
    """
    words = [
        str(site.programs / "nng-stream"), "run", "--directory", ".", "--json",
        "--host", site.host,
        "--expected-producers", str(request.ranks),
        "--limit", str(request.buffer_limit_bytes),
        "--start-timeout", f"{request.start_timeout_seconds:g}",
        "--idle-timeout", f"{request.idle_timeout_seconds:g}",
        "--drain-timeout", f"{request.drain_timeout_seconds:g}",
    ]  # fmt: skip
    words += _security(request, site)
    if request.consumer_timeout_seconds:
        words += ["--consumer-timeout", f"{request.consumer_timeout_seconds:g}"]
    if site.port_range:
        words += ["--port-range", site.port_range]
    seconds = (
        request.start_timeout_seconds
        + request.streamer_duration_minutes * 60
        + request.drain_timeout_seconds
        + _SPARE_SECONDS
    )
    return JobSpec(
        name=f"buffer {_title(request)}",
        script=f"#!/bin/sh\nexec {shlex.join(words)}\n",
        environment=dict(site.buffer_environment),
        resources=ResourceSpec(duration=seconds / 60, node_count=1, process_count=1),
        backend=request.buffer_backend,
    )


def check_room(request: TransferRequest, site: SiteSettings, transfers: int) -> None:
    """Refuse where the buffers could take every slot, so that no streamer could ever start.

    Each transfer holds a slot with its buffer until its streamer has ended; as long as one slot is
    left over, one streamer after the other gets it.

    Args:
        request: what is asked for.
        site: whose backends are meant; unknown here where a service keeps the jobs.
        transfers: how many may run at a time.

    Raises:
        ConfigurationError: buffers and streamers share too few slots of a local backend.
    """
    from airflow_provider_lclstream.psik.backends.base import read_settings
    from airflow_provider_lclstream.psik.backends.local import LocalSettings

    name = request.buffer_backend
    backend = site.psik.backends.get(name)
    if backend is None or backend.type != "local" or request.streamer_backend != name:
        return
    slots = read_settings(LocalSettings, name, backend.attributes).slots
    if slots <= transfers:
        raise ConfigurationError(
            f"the buffers of {transfers} transfers could take all slots ({slots}) of the local "
            f"backend {name!r}, and then no streamer would ever start",
            mend=f"give it at least {transfers + 1} slots, or the buffers a backend of their own "
            f"(buffer_backend), or let fewer transfers run at a time ([lclstream] "
            f"max_active_transfers below {slots})",
        )


def _security(request: TransferRequest, site: SiteSettings) -> list[str]:
    """The buffer's options that say who may connect."""
    if site.data_ports == "plain":
        if request.allowed_consumers:
            raise ConfigurationError(
                f"allowed_consumers names {', '.join(request.allowed_consumers)}, but the buffer's "
                "ports at this site are plain: nobody shows there who he is",
                mend="set data_ports: tls in the site's file, or leave allowed_consumers out",
            )
        return []
    if request.protocol == "zmq":
        raise ConfigurationError(
            "protocol is zmq, but the buffer's ports at this site are mutual TLS",
            mend="ask for protocol nng, which tls+tcp:// carries",
        )
    host = f"[{site.host}]" if ":" in site.host else site.host
    place = f"tls+tcp://{host}:0"
    allowed = [word for name in request.allowed_consumers for word in ("--allow-consumer", name)]
    return ["--inlet", place, "--outlet", place, *allowed]


def plan_streamer(
    request: TransferRequest, site: SiteSettings, endpoints: BufferEndpoints
) -> JobSpec:
    """The job whose ranks read the run and push it into the buffer.

    Raises:
        BadInputError: the buffer has no inlet for the protocol that was asked for.
    """
    size = launched_ranks(request)
    psana = PSANA2_ENVIRONMENT if request.needs_psana2 else {}
    return JobSpec(
        name=f"streamer {_title(request)}",
        script=_streamer_script(
            configuration_text(request, endpoints), _start(request, site, size)
        ),
        environment={**psana, **site.streamer_environment},
        resources=ResourceSpec(
            duration=request.streamer_duration_minutes,
            node_count=request.streamer_node_count,
            process_count=size,
        ),
        backend=request.streamer_backend,
    )


def launched_ranks(request: TransferRequest) -> int:
    """How many processes are started so that ``request.ranks`` of them produce events."""
    if request.needs_psana2 and request.ranks > 1:
        return request.ranks + PSANA2_HELPER_RANKS
    return request.ranks


def configuration_text(request: TransferRequest, endpoints: BufferEndpoints) -> str:
    """The streamer's configuration file, with the buffer's inlet as its only handler."""
    configuration: dict[str, Any] = request.streamer.model_dump(
        mode="json", exclude={"data_handlers"}
    )
    configuration["data_handlers"] = [
        {
            "type": "BinaryDataStreamingDataHandler",
            "role": "client",
            "urls": [_inlet(request, endpoints)],
        }
    ]
    return yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True)


def _inlet(request: TransferRequest, endpoints: BufferEndpoints) -> str:
    url = endpoints.inlets.get(request.protocol)
    if url is None:
        raise BadInputError(
            f"the buffer has no {request.protocol} inlet, only {', '.join(endpoints.inlets)}",
            mend="ask for one of the protocols that the buffer offers",
        )
    return f"nng+{url}" if url.startswith("tcp://") else url


def _start(request: TransferRequest, site: SiteSettings, size: int) -> str:
    """The last lines of the streamer's script: one rank, or all of them by a launcher."""
    words = [str(site.programs / "lclstreamer"), "run"]
    command = shlex.join([*words, "-c", CONFIGURATION_FILE, "--report", ".", "--json"])
    if size == 1:
        return f"exec {command}"
    launcher = site.launcher if request.needs_psana2 else site.independent_launcher
    if launcher:
        words = [word.replace(SIZE_PLACEHOLDER, str(size)) for word in launcher]
        return f"exec {shlex.join(words)} {command}"
    return _ONE_BY_ONE.format(command=command, size=size, last=size - 1)


def _streamer_script(configuration: str, start: str) -> str:
    if _END_MARK in configuration:
        raise BadInputError(
            f"the streamer's configuration contains the words {_END_MARK}",
            mend="take them out; the job's script ends the file with them",
        )
    return (
        "#!/bin/sh\nset -eu\n"
        f"cat > {CONFIGURATION_FILE} <<'{_END_MARK}'\n{configuration}{_END_MARK}\n"
        f"{start}\n"
    )


def _title(request: TransferRequest) -> str:
    return f"{request.experiment} run {request.run_number}"
