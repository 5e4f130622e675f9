"""From a request to two jobs; the scripts are really run where a shell can show what they do."""

import json
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from airflow_provider_lclstream.psik.models import BackendConfig
from airflow_provider_lclstream.transfer.launch_plan import (
    BufferEndpoints,
    check_room,
    configuration_text,
    launched_ranks,
    plan_buffer,
    plan_streamer,
    read_endpoints,
)
from airflow_provider_lclstream.transfer.models import TransferRequest
from lclstreamer.core.errors import BadInputError, ConfigurationError
from lclstreamer.parameters.configuration import parse_configuration


def request(document, **changes) -> TransferRequest:
    return TransferRequest.model_validate({**document, **changes})


def fake_program(folder: Path, name: str) -> Path:
    """A program that shows its arguments, rank and size."""
    path = folder / name
    path.write_text('#!/bin/sh\necho "${PMI_RANK-}/${PMI_SIZE-} $*"\nexit ${FAKE_EXIT-0}\n')
    path.chmod(0o755)
    return path


def test_the_buffer_is_told_everything(request_document, site):
    spec = plan_buffer(request(request_document, buffer_backend="dtn"), site)
    words = spec.script.splitlines()[1]
    assert words.startswith("exec '/opt/lcl stream/bin/nng-stream' run --directory . --json")
    for part in ("--host 10.0.0.7", "--expected-producers 2", "--port-range 30000-30010",
                 "--limit 268435456", "--drain-timeout 900"):  # fmt: skip
        assert part in words
    assert "--consumer-timeout" not in words
    patient = request(request_document, consumer_timeout_seconds=90)
    assert "--consumer-timeout 90" in plan_buffer(patient, site).script
    assert spec.backend == "dtn"
    # It must outlive waiting for the streamer, the streamer, and draining.
    assert spec.resources.duration_seconds > 1800 + 3600 + 900


def test_who_may_pull_is_passed_on_where_the_ports_are_secure(request_document, site, endpoints):
    asked = request(request_document, allowed_consumers=["uid:alice", "cn:Beamline viewer"])
    secure = site.model_copy(update={"data_ports": "tls"})
    words = shlex.split(plan_buffer(asked, secure).script)
    assert words[words.index("--inlet") + 1] == "tls+tcp://10.0.0.7:0"
    assert words[words.index("--outlet") + 1] == "tls+tcp://10.0.0.7:0"
    allowed = [word for last, word in pairwise(words) if last == "--allow-consumer"]
    assert allowed == ["uid:alice", "cn:Beamline viewer"]
    with pytest.raises(ConfigurationError, match="uid:alice") as refused:
        plan_buffer(asked, site)
    assert "data_ports: tls" in refused.value.mend
    with pytest.raises(ConfigurationError, match="zmq"):
        plan_buffer(request(request_document, protocol="zmq"), secure)
    at = endpoints.model_copy(update={"inlets": {"nng": "tls+tcp://10.0.0.7:30001"}})
    parsed = parse_configuration(configuration_text(asked, at))
    (inlet,) = parsed.data_handlers[0].endpoints()
    assert inlet.is_secure


@pytest.mark.parametrize(
    ("slots", "transfers", "is_enough"), [(1, 1, False), (2, 1, True), (8, 8, False), (9, 8, True)]
)
def test_buffers_never_take_all_slots_from_their_streamers(
    request_document, site, slots, transfers, is_enough
):
    local = BackendConfig(attributes={"slots": str(slots)})
    backends = {"default": local, "dtn": local, "milano": BackendConfig(type="slurm")}
    narrow = site.model_copy(update={"psik": site.psik.model_copy(update={"backends": backends})})
    asked = request(request_document)
    if is_enough:
        check_room(asked, narrow, transfers)
    else:
        with pytest.raises(ConfigurationError, match="no streamer would ever start") as refused:
            check_room(asked, narrow, transfers)
        assert f"at least {transfers + 1} slots" in refused.value.mend
    # Where they share no slots, they cannot take them from each other.
    for change in (
        {"buffer_backend": "dtn"},
        {"buffer_backend": "milano"},
        {"streamer_backend": "x"},
    ):
        check_room(request(request_document, **change), narrow, transfers)


def test_psana_gets_its_helper_ranks(request_document, site, endpoints):
    spec = plan_streamer(request(request_document, streamer_backend="milano"), site, endpoints)
    last = spec.script.splitlines()[-1]
    assert last.startswith("exec mpirun -n 4 '/opt/lcl stream/bin/lclstreamer' run -c")
    assert spec.environment["PS_EB_NODES"] == "1"
    assert spec.environment["FI_PROVIDER"] == "tcp"
    assert spec.resources.process_count == 4
    assert spec.backend == "milano"


def test_psana_files_are_split_without_helper_ranks(request_document, streamer, site, endpoints):
    files = {**streamer, "source_identifier": "files=/data/run17.xtc2"}
    asked = request(request_document, ranks=3, streamer=files)
    assert not asked.needs_psana2
    assert launched_ranks(asked) == 3
    assert "mpirun" not in plan_streamer(asked, site, endpoints).script


def test_one_rank_needs_no_launcher(request_document, site, endpoints):
    one = request(request_document, ranks=1)
    assert launched_ranks(one) == 1
    assert "mpirun" not in plan_streamer(one, site, endpoints).script


def test_ranks_that_do_not_talk_are_started_by_the_shell(
    request_document, internal, site, endpoints, tmp_path
):
    fake_program(tmp_path, "lclstreamer")
    here = site.model_copy(update={"programs": tmp_path})
    spec = plan_streamer(request(request_document, ranks=3, streamer=internal), here, endpoints)
    done = subprocess.run(["sh", "-c", spec.script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == ["0/3", "1/3", "2/3"]
    failing = subprocess.run(
        ["sh", "-c", spec.script], cwd=tmp_path, env={"FAKE_EXIT": "74", "PATH": "/usr/bin:/bin"},
        capture_output=True,
    )  # fmt: skip
    assert failing.returncode == 74


def test_a_sites_own_launcher_is_used(request_document, internal, site, endpoints):
    launcher = ("srun", "-n", "{size}", "--kill-on-bad-exit=0")
    here = site.model_copy(update={"independent_launcher": launcher})
    spec = plan_streamer(request(request_document, ranks=3, streamer=internal), here, endpoints)
    assert spec.script.splitlines()[-1].startswith("exec srun -n 3 --kill-on-bad-exit=0 ")


def test_the_script_writes_a_configuration_that_the_streamer_takes(
    request_document, site, endpoints, tmp_path
):
    fake_program(tmp_path, "lclstreamer")
    here = site.model_copy(update={"programs": tmp_path})
    # What a shell would expand, had it the chance.
    streamer = {**request_document["streamer"]}
    streamer["source_identifier"] = "exp=mfxx00126,run=17,dir=/data/$HOME/`id`/é"
    asked = request(request_document, ranks=1, streamer=streamer)
    spec = plan_streamer(asked, here, endpoints)
    subprocess.run(["sh", "-c", spec.script], cwd=tmp_path, check=True, capture_output=True)
    text = (tmp_path / "lclstreamer.yaml").read_text()
    configuration = parse_configuration(text, name="lclstreamer.yaml")
    assert configuration.source_identifier == streamer["source_identifier"]
    (handler,) = configuration.data_handlers
    assert list(handler.urls) == ["nng+tcp://10.0.0.7:30000"]


def test_the_protocol_chooses_the_inlet(request_document, endpoints):
    text = configuration_text(request(request_document, protocol="zmq"), endpoints)
    assert yaml.safe_load(text)["data_handlers"][0]["urls"] == ["zmq+tcp://10.0.0.7:30001"]
    only_nng = BufferEndpoints(inlets={"nng": "tcp://h:1"}, outlets={"nng": "tcp://h:2"})
    with pytest.raises(BadInputError, match="no zmq inlet, only nng"):
        configuration_text(request(request_document, protocol="zmq"), only_nng)


def test_a_configuration_cannot_end_its_own_file(request_document, site, endpoints):
    streamer = {**request_document["streamer"]}
    streamer["source_identifier"] = "files=END_OF_LCLSTREAMER_CONFIGURATION\nrm -rf /"
    # The parameters refuse a line break in an identifier or the plan refuses the mark itself.
    with pytest.raises((BadInputError, ValueError)):
        plan_streamer(request(request_document, streamer=streamer), site, endpoints)


def test_plans_are_plain_json(request_document, site, endpoints):
    spec = plan_streamer(request(request_document), site, endpoints)
    assert json.loads(spec.model_dump_json())["name"] == "streamer mfxx00126 run 17"


def test_endpoints_of_a_later_version_are_read(endpoints):
    document = {**endpoints.model_dump(), "shard": 3}
    assert read_endpoints(document) == endpoints
    for broken in (None, {}, {"inlets": {"nng": "tcp://h:1"}}):
        with pytest.raises(BadInputError, match="lack inlets or outlets"):
            read_endpoints(broken)
