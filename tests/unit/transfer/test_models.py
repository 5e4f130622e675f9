"""The transfer request: what it takes, what it refuses, how it travels."""

import json

import pytest
from pydantic import ValidationError

from airflow_provider_lclstream.transfer.models import TransferRequest, dag_run_id


def test_a_request_survives_json(request_document):
    request = TransferRequest.model_validate(request_document)
    text = request.model_dump_json()
    assert TransferRequest.model_validate_json(text) == request
    assert "data_handlers" not in json.loads(text)["streamer"]
    assert request.needs_psana2


def test_sizes_may_carry_units(request_document):
    request = TransferRequest.model_validate({**request_document, "buffer_limit_bytes": "2 GiB"})
    assert request.buffer_limit_bytes == 2 * 2**30
    with pytest.raises(ValidationError, match="is not a size in bytes"):
        TransferRequest.model_validate({**request_document, "buffer_limit_bytes": "many"})


def test_upstreams_spelling_of_the_streamer_is_understood(request_document, streamer):
    serializer = {**streamer["data_serializer"], "type": "HDF5BinarySerializer"}
    given = {**streamer, "data_serializer": serializer, "data_handlers": []}
    request = TransferRequest.model_validate({**request_document, "streamer": given})
    assert request.streamer.data_serializer.type == "Hdf5Serializer"


def test_the_papers_form_of_the_streamer_is_understood(request_document, streamer):
    nested = {
        "lclstreamer": {
            "event_source": "Psana2EventSource",
            "processing_pipeline": "BatchProcessingPipeline",
            "data_serializer": "Hdf5Serializer",
            "source_identifier": streamer["source_identifier"],
            "skip_incomplete_events": True,
        },
        "data_sources": streamer["data_sources"],
        "processing_pipeline": {"BatchProcessingPipeline": {"batch_size": 7}},
        "data_serializer": {"Hdf5Serializer": {"fields": {"image": "/data/image"}}},
    }
    request = TransferRequest.model_validate({**request_document, "streamer": nested})
    assert request.streamer.processing_pipeline.batch_size == 7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"experiment": "../etc"}, "experiment"),
        ({"experiment": "x; rm -rf /"}, "experiment"),
        ({"run_number": -1}, "run_number"),
        ({"run_oid": "a/b"}, "run_oid"),
        ({"ranks": 0}, "ranks"),
        ({"buffer_limit_bytes": 10}, "buffer_limit_bytes"),
        ({"rank": 2}, "Extra inputs"),
        ({"labels": {"bad key!": "x"}}, "labels"),
    ],
)
def test_what_cannot_be_is_refused(request_document, change, words):
    with pytest.raises(ValidationError, match=words):
        TransferRequest.model_validate({**request_document, **change})


def test_handlers_are_the_transfers_business(request_document, streamer):
    handler = {"type": "BinaryFileWritingDataHandler"}
    given = {**streamer, "data_handlers": [handler]}
    with pytest.raises(ValidationError, match="data_handlers must be left out"):
        TransferRequest.model_validate({**request_document, "streamer": given})


def test_ids_are_the_same_for_the_same_run():
    assert dag_run_id("tmox42619", 3, "ab") == "lclstream__tmox42619__r0003__ab"
