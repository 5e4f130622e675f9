"""The form of a transfer: every field of the request, checked by Airflow as the model would."""

from __future__ import annotations

import json

import pytest

REQUEST = {
    "experiment": "mfxx00126",
    "run_number": 17,
    "streamer": {
        "source_identifier": "made up",
        "skip_incomplete_events": False,
        "event_source": {"type": "InternalEventSource", "number_of_events_to_generate": 4},
        "data_sources": {"event": {"type": "EventId"}},
        "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": 2},
        "data_serializer": {"type": "Hdf5Serializer", "fields": {"event": "/event"}},
    },
}


@pytest.fixture(scope="module")
def form():
    from airflow_provider_lclstream.operators.trigger_form import params_of
    from airflow_provider_lclstream.transfer.models import TransferRequest

    return params_of(TransferRequest)


def test_it_has_every_field_with_a_description_and_the_models_default(form):
    from airflow_provider_lclstream.transfer.models import TransferRequest

    request = TransferRequest.model_validate(REQUEST)
    assert set(form) == set(TransferRequest.model_fields)
    for name, field in TransferRequest.model_fields.items():
        param = form.get_param(name)
        assert param.description, name
        if not field.is_required():
            assert param.resolve() == json.loads(request.model_dump_json())[name]


def test_what_is_required_must_be_filled_in(form):
    from airflow.sdk.exceptions import ParamValidationError

    for name in ("experiment", "run_number", "streamer"):
        with pytest.raises(ParamValidationError):
            form.get_param(name).resolve()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("experiment", "no spaces"), ("run_number", -1), ("streamer", "text"), ("ranks", 0),
        ("protocol", "smoke"), ("buffer_limit_bytes", 3), ("buffer_limit_bytes", "256 MX"),
        ("buffer_limit_bytes", "much"), ("drain_timeout_seconds", 0),
        ("labels", []),
    ],
)  # fmt: skip
def test_airflow_refuses_what_the_model_refuses(form, name, value):
    from airflow.sdk.exceptions import ParamValidationError
    from pydantic import ValidationError

    from airflow_provider_lclstream.transfer.models import TransferRequest

    with pytest.raises(ParamValidationError):
        form.get_param(name).resolve(value)
    with pytest.raises(ValidationError):
        TransferRequest.model_validate({**REQUEST, name: value})


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [("256 MiB", 2**28), ("1.5GB", 1_500_000_000), (" 4194304 ", 2**22), (2**30, 2**30)],
)
def test_a_size_may_be_written_as_text_or_as_a_number(form, value, size_bytes):
    from airflow_provider_lclstream.transfer.models import TransferRequest

    param = form.get_param("buffer_limit_bytes")
    assert param.resolve(value) == value
    request = TransferRequest.model_validate({**REQUEST, "buffer_limit_bytes": value})
    assert request.buffer_limit_bytes == size_bytes
    # The form shows a field for the first type that is named: text, which takes both.
    assert param.schema["type"][0] == "string"


def test_a_transfer_whose_buffers_could_take_every_slot_is_refused(monkeypatch, tmp_path):
    from airflow_provider_lclstream.operators.transfer import BufferUpOperator
    from lclstreamer.core.errors import ConfigurationError

    site = tmp_path / "site.yaml"
    site.write_text(
        f"psik: {{prefix: {tmp_path}, backends: {{default: {{attributes: {{slots: '3'}}}}}}}}"
    )
    monkeypatch.setenv("AIRFLOW__LCLSTREAM__SITE_FILE", str(site))
    buffer_up = BufferUpOperator(task_id="buffer_up")
    monkeypatch.setenv("AIRFLOW__LCLSTREAM__MAX_ACTIVE_TRANSFERS", "2")
    assert buffer_up.make_job({"params": REQUEST})[0].name == "buffer mfxx00126 run 17"
    monkeypatch.setenv("AIRFLOW__LCLSTREAM__MAX_ACTIVE_TRANSFERS", "3")
    with pytest.raises(ConfigurationError, match="no streamer would ever start"):
        buffer_up.make_job({"params": REQUEST})


def test_over_rest_a_request_starts_a_run_and_a_mistake_is_told(api):
    token = api.token("arp")
    path = "/api/v2/dags/lclstream_transfer/dagRuns"
    body = {"logical_date": None, "dag_run_id": "form", "conf": REQUEST}
    assert api.request("POST", path, body, token=token)[0] == 200
    assert api.request("POST", path, body, token=token)[0] == 409
    wrong = {**body, "dag_run_id": "wrong", "conf": {**REQUEST, "ranks": "many"}}
    status, text = api.request("POST", path, wrong, token=token)
    assert status == 400
    assert "ranks" in text
    assert api.request("POST", path, body, token=api.token("guest"))[0] == 403


def test_the_form_is_what_the_user_interface_gets(api):
    path = "/api/v2/dags/lclstream_transfer/details"
    details = json.loads(api.request("GET", path, token=api.token("guest"))[1])
    assert details["params"]["protocol"]["schema"]["enum"] == ["nng", "zmq"]
    assert details["params"]["streamer"]["schema"]["type"] == "object"
    assert "psana" in details["params"]["ranks"]["description"]


def test_mistakes_inside_the_streamers_configuration_are_all_told():
    from airflow_provider_lclstream.operators.transfer import request_of
    from lclstreamer.core.errors import ConfigurationError

    streamer = {**REQUEST["streamer"], "event_source": {"type": "InternalEventSorce"}}
    streamer["processing_pipeline"] = {"type": "BatchProcessingPipeline", "batch_sise": 2}
    with pytest.raises(ConfigurationError) as failed:
        request_of({"params": {**REQUEST, "streamer": streamer}})
    text = failed.value.render()
    assert "streamer.event_source.type" in text
    assert "did you mean 'InternalEventSource'?" in text
    assert "did you mean 'batch_size'?" in text
