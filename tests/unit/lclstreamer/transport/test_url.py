from __future__ import annotations

import pytest

from lclstreamer.core.errors import BadInputError
from lclstreamer.transport.url import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("text", "endpoint", "written"),
    [
        ("tcp://host:5000", Endpoint("nng", "host", 5000), "tcp://host:5000"),
        ("nng+tcp://10.0.0.1:1", Endpoint("nng", "10.0.0.1", 1), "tcp://10.0.0.1:1"),
        ("zmq+tcp://host:0/", Endpoint("zmq", "host", 0), "zmq+tcp://host:0"),
        ("tcp://[::1]:5000", Endpoint("nng", "::1", 5000), "tcp://[::1]:5000"),
        ("tcp://*:5000", Endpoint("nng", "0.0.0.0", 5000), "tcp://0.0.0.0:5000"),
        ("  TCP://host:5000 ", Endpoint("nng", "host", 5000), "tcp://host:5000"),
    ],
)
def test_urls_are_read_and_written(text, endpoint, written):
    assert parse_endpoint(text) == endpoint
    assert str(endpoint) == written
    assert parse_endpoint(written) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "", "host:5000", "tcp://", "tcp://host", "tcp://host:", "tcp://:5000", "tcp://host:65536",
        "tcp://host:-1", "tcp://host:5x", "http://host:80", "zmq://host:1", "tcp://host:٣",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_socket_is_refused_with_a_mend(text):
    with pytest.raises(BadInputError) as caught:
        parse_endpoint(text)
    assert "tcp://" in caught.value.mend


def test_a_close_scheme_is_suggested():
    with pytest.raises(BadInputError, match=r"did you mean zmq\+tcp://\?"):
        parse_endpoint("zmq-tcp://host:1")
