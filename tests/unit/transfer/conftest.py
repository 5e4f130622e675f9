"""A request that fits, and a site on one machine."""

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.models import PsikConfig
from airflow_provider_lclstream.transfer.launch_plan import BufferEndpoints
from airflow_provider_lclstream.transfer.site import SiteSettings


@pytest.fixture
def streamer() -> dict[str, Any]:
    return {
        "source_identifier": "exp=mfxx00126,run=17,dir=/data/x",
        "skip_incomplete_events": True,
        "event_source": {"type": "Psana2EventSource"},
        "data_sources": {
            "image": {
                "type": "Psana2DetectorInterface",
                "psana_name": "jungfrau",
                "psana_fields": "raw.raw",
            }
        },
        "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": 5},
        "data_serializer": {"type": "Hdf5Serializer", "fields": {"image": "/data/image"}},
    }


@pytest.fixture
def internal(streamer) -> dict[str, Any]:
    return {
        **streamer,
        "source_identifier": "none",
        "event_source": {"type": "InternalEventSource", "number_of_events_to_generate": 12},
        "data_sources": {
            "image": {
                "type": "GenericRandomNumpyArray",
                "array_shape": "4,4",
                "array_dtype": "float32",
            }
        },
    }


@pytest.fixture
def request_document(streamer) -> dict[str, Any]:
    return {"experiment": "mfxx00126", "run_number": 17, "ranks": 2, "streamer": streamer}


@pytest.fixture
def site() -> SiteSettings:
    return SiteSettings(
        psik=PsikConfig(prefix=Path("/jobs")),
        host="10.0.0.7",
        port_range="30000-30010",
        programs=Path("/opt/lcl stream/bin"),
        launcher=("mpirun", "-n", "{size}"),
    )


@pytest.fixture
def endpoints() -> BufferEndpoints:
    return BufferEndpoints(
        inlets={"nng": "tcp://10.0.0.7:30000", "zmq": "zmq+tcp://10.0.0.7:30001"},
        outlets={"nng": "tcp://10.0.0.7:30002"},
        admin="http://127.0.0.1:30003",
    )
