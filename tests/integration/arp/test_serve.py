"""`lclstream arp serve` between a real broker, a real Elog process and Airflow's REST interface."""

from __future__ import annotations

import json
import signal
import time
import urllib.request

from airflow_provider_lclstream.elog.client import ElogClient
from airflow_provider_lclstream.sim.daq import DataTakingSystem

EXPERIMENT = "mfxx00126"


def produce(broker: str, *payloads: bytes) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": broker})
    for payload in payloads:
        producer.produce("runs", payload)
    assert producer.flush(10) == 0


def test_a_burst_gives_one_transfer_per_run(serve, elog, airflow, wait_for, figure):
    service = serve()
    daq = DataTakingSystem(elog, EXPERIMENT)
    daq.switch_to("MFX")
    begun = time.monotonic()
    for number in range(1, 11):
        daq.start_run(number)  # ends the run before it, too
        daq.add_run_params({"DAQ Detectors/drp/jungfrau": "0"})
    daq.end_run()
    wait_for(lambda: len(airflow.runs) == 10, what="ten transfers")
    figure("arp_burst_of_10_seconds", time.monotonic() - begun)
    time.sleep(1)
    assert service.stop() == 0
    assert len(airflow.runs) == 10
    assert airflow.statuses == [200] * 10
    assert {int(run_id.split("__r")[1][:4]) for run_id in airflow.runs} == set(range(1, 11))
    assert "'started': 10" in service.stderr


def test_killed_in_the_middle_nothing_is_lost_or_doubled(serve, elog, airflow, wait_for):
    daq = DataTakingSystem(elog, EXPERIMENT)
    # With the classic protocol the broker can be told to forget a dead member soon.
    classic = ("--kafka-option", "group.protocol=classic",
               "--kafka-option", "session.timeout.ms=6000")  # fmt: skip
    service = serve(*classic)
    for number in range(1, 21):
        daq.start_run(number)
        if number == 8:
            wait_for(lambda: airflow.runs, what="the first transfer")
            service.stop(signal.SIGKILL)
    serve(*classic)
    wait_for(lambda: len(airflow.runs) == 20, timeout_seconds=60, what="twenty transfers")
    assert set(airflow.statuses) <= {200, 409}
    assert airflow.statuses.count(200) == 20


def test_poison_is_kept_and_does_not_stop_what_follows(
    serve, broker, elog, airflow, wait_for, tmp_path
):
    service = serve()
    produce(broker, b"not json", b'{"experiment_name": "x", "CRUD": "Create", "value": 3}')
    DataTakingSystem(elog, EXPERIMENT).start_run(1)
    wait_for(lambda: airflow.runs, what="the transfer after the poison")
    letters = tmp_path / "dead-letters.jsonl"
    wait_for(lambda: letters.exists() and len(letters.read_text().splitlines()) == 2)
    first, second = (json.loads(line) for line in letters.read_text().splitlines())
    assert {first["value"][:8], second["value"][:8]} == {"not json", '{"experi'}
    assert first["topic"] == "runs"
    assert "cannot be used" in first["reason"]
    assert service.stop() == 0
    assert "'rejected': 2" in service.stderr
    # Committed: a new process does not meet them again.
    again = serve()
    DataTakingSystem(elog, EXPERIMENT).start_run(2)
    wait_for(lambda: len(airflow.runs) == 2)
    assert again.stop() == 0
    assert len(letters.read_text().splitlines()) == 2


def test_metrics_count_what_happened(serve, broker, elog, airflow, wait_for, free_port):
    port = free_port()
    serve("--metrics-port", port)
    produce(broker, b"not json")
    DataTakingSystem(elog, EXPERIMENT).start_run(1)
    wait_for(lambda: airflow.runs, what="the transfer")

    def metrics() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.read().decode()

    wait_for(lambda: "lclstream_runevents_rejected_total 1\n" in metrics())
    started = 'lclstream_runevents_dispatched_total{outcome="started"} 1\n'
    wait_for(lambda: started in metrics(), what=f"{started} in {metrics()}")


def test_airflow_away_for_a_while(serve, elog, airflow, wait_for):
    airflow.faults = [503, 503, "hang up"]
    serve()
    DataTakingSystem(elog, EXPERIMENT).start_run(1)
    wait_for(lambda: airflow.runs, what="the transfer")


def test_airflow_that_refuses_the_user_ends_the_service(serve, elog, airflow):
    airflow.password = "changed"
    service = serve()
    DataTakingSystem(elog, EXPERIMENT).start_run(1)
    assert service.wait(30) == 77
    assert "refuses the user 'arp'" in service.stderr
    assert "Traceback" not in service.stderr


def test_no_broker_is_said_within_seconds(processes, rules, credentials, airflow, free_port):
    begun = time.monotonic()
    ended = processes.run(
        ["lclstream", "arp", "serve", "--rules", rules, "--airflow", airflow.url,
         "--credentials", credentials, "--bootstrap", f"127.0.0.1:{free_port()}"],
        timeout_seconds=30,
    )  # fmt: skip
    assert ended.process.returncode == 69
    assert time.monotonic() - begun < 15
    assert "no Kafka broker answers" in ended.stderr
    assert ended.stderr.count("mend:") == 1
    assert "Traceback" not in ended.stderr


def test_the_elog_in_a_process_answers_the_client(elog):
    daq = DataTakingSystem(elog, EXPERIMENT)
    with ElogClient(elog) as client:
        assert client.current_run(EXPERIMENT) is None
        assert client.active_experiment("MFX") is None
        daq.switch_to("MFX")
        assert client.active_experiment("mfx") == EXPERIMENT
        daq.start_run(1)
        daq.start_run(2)
        assert [run["num"] for run in client.runs(EXPERIMENT)] == [2, 1]
        current = client.current_run(EXPERIMENT)
        assert current is not None
        assert current["end_time"] is None
        assert client.files_for_live_mode(EXPERIMENT, 2) == []


def test_a_port_in_use_is_said(processes, broker, elog):
    port = elog.split(":")[2].split("/")[0]
    ended = processes.run(["lclstream", "sim", "elog", "--bootstrap", broker, "--port", port])
    assert ended.process.returncode == 69
    assert f"cannot listen on port {port}" in ended.stderr
    assert ended.stderr.count("mend:") == 1


def test_two_services_share_a_group(serve, elog, airflow, wait_for):
    first, second = serve(), serve()
    daq = DataTakingSystem(elog, EXPERIMENT)
    for number in range(1, 9):
        daq.start_run(number)
    wait_for(lambda: len(airflow.runs) == 8, what="eight transfers")
    assert airflow.statuses.count(200) == 8
    assert (first.stop(), second.stop()) == (0, 0)
