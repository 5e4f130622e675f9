from __future__ import annotations

import pytest
from nng_stream.places import by_protocol, open_on_free_port, published
from nng_stream.settings import BufferSettings
from pydantic import ValidationError

from lclstreamer.core.errors import UnavailableError
from lclstreamer.transport.url import Endpoint


def test_texts_become_numbers():
    settings = BufferSettings.model_validate(
        {"limit_bytes": "256MiB", "start_timeout_seconds": "1m30s", "port_range": "30001-34000"}
    )
    assert settings.limit_bytes == 256 << 20
    assert settings.start_timeout_seconds == 90
    assert settings.port_range == (30001, 34000)


def test_without_urls_it_listens_for_both_protocols_on_its_host():
    settings = BufferSettings(host="10.0.0.1")
    assert settings.inlet_endpoints() == [
        Endpoint("nng", "10.0.0.1", 0),
        Endpoint("zmq", "10.0.0.1", 0),
    ]
    only = BufferSettings(outlets=("zmq+tcp://127.0.0.1:5000",))
    assert only.outlet_endpoints() == [Endpoint("zmq", "127.0.0.1", 5000)]


def test_it_listens_on_loopback_unless_told():
    assert BufferSettings().host == "127.0.0.1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit_bytes": 0}, {"limit_bytes": "a lot"}, {"expected_producers": -1},
        {"idle_timeout_seconds": 0}, {"idle_timeout_seconds": "soon"}, {"port_range": "x-y"},
        {"port_range": "2-1"}, {"port_range": "1-70000"}, {"inlets": ["host:5"]}, {"unknown": 1},
        {"admin_port": 65536},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        BufferSettings.model_validate(wrong)


def test_ports_are_chosen_in_the_range_and_the_taken_ones_passed_over():
    taken = {30001, 30002, 30004}

    def make(endpoint):
        if endpoint.port in taken:
            raise UnavailableError("taken", mend="choose another")
        return endpoint.port

    anywhere = Endpoint("nng", "h", 0)
    assert open_on_free_port(make, anywhere, (30001, 30004)) == 30003
    assert open_on_free_port(make, anywhere.with_port(5), (30001, 30004)) == 5
    assert open_on_free_port(make, anywhere, None) == 0
    with pytest.raises(UnavailableError, match="no port of 30001 to 30002 is free on h"):
        open_on_free_port(make, anywhere, (30001, 30002))


def test_what_is_published_can_be_dialed():
    everywhere = Endpoint("nng", "0.0.0.0", 5)
    assert published(everywhere, "").host not in {"0.0.0.0", ""}
    assert str(published(everywhere, "dtn.example.org")) == "tcp://dtn.example.org:5"
    assert published(Endpoint("nng", "127.0.0.1", 5), "").host == "127.0.0.1"


def test_urls_are_published_by_protocol():
    places = [Endpoint("nng", "h", 1), Endpoint("zmq", "h", 2), Endpoint("nng", "h", 3)]
    assert by_protocol(places) == {
        "nng": "tcp://h:1",
        "zmq": "zmq+tcp://h:2",
        "nng-2": "tcp://h:3",
    }
