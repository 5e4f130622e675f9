import pytest
from pydantic import TypeAdapter, ValidationError

from lclstreamer.parameters.handlers import DataHandlerParameters

parse = TypeAdapter(DataHandlerParameters).validate_python
STREAMING = {"type": "BinaryDataStreamingDataHandler", "urls": ["tcp://127.0.0.1:12321"]}
FILES = {"type": "BinaryFileWritingDataHandler"}


@pytest.mark.parametrize(
    "values",
    [
        # 2025, and the paper
        {"role": "client", "library": "nng", "socket_type": "push"},
        # March 2026
        {"role": "server", "library": "zmq", "socket_type": "push"},
        # today, also what LCLStream-API writes
        {"distribute": True, "buffer": 0, "role": "client", "library": "zmq",
         "socket_type": "push"},
        {"distribute": False, "buffer": 67108864, "linger": 0, "role": "client"},
        {"distribute": False, "buffer": 0, "linger": -1},
    ],
)  # fmt: skip
def test_every_generation_of_upstreams_keys_is_understood(values):
    assert parse({**STREAMING, **values}).role == values.get("role", "client")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"urls": []}, "at least 1 item"),
        ({"urls": "tcp://127.0.0.1:5000"}, "valid list"),
        ({"urls": ["127.0.0.1:5000"]}, "not the URL of a socket"),
        ({"urls": ["tcp://127.0.0.1"]}, "no host and port"),
        ({"urls": ["tcp://127.0.0.1:70000"]}, "no host and port"),
        ({"urls": ["http://127.0.0.1:80"]}, "not the URL of a socket"),
        ({"urls": ["zmq+tcp://127.0.0.1:80"], "library": "nng"}, "library is nng"),
        ({"role": "producer"}, "'client' or 'server'"),
        ({"library": "kafka"}, "'zmq' or 'nng'"),
        ({"socket_type": "pub"}, "'push'"),
        ({"buffer": -1}, "greater than or equal to 0"),
        ({"buffer": 2**50}, "less than or equal"),
        ({"linger": -2}, "greater than or equal to -1"),
        ({"send_timeout_seconds": 0}, "greater than 0"),
        ({"send_timeout_seconds": float("inf")}, "finite number"),
        ({"close_timeout_seconds": 1e9}, "less than or equal"),
        ({"connect_timeout_seconds": True}, "valid number"),
        ({"sndbuf": 3}, "not permitted"),
    ],
)
def test_what_cannot_work_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        parse({**STREAMING, **values})


@pytest.mark.parametrize(
    ("url", "library", "expected"),
    [
        ("tcp://h:1", None, "zmq+tcp://h:1"),
        ("tcp://h:1", "zmq", "zmq+tcp://h:1"),
        ("tcp://h:1", "nng", "tcp://h:1"),
        ("zmq+tcp://h:1", None, "zmq+tcp://h:1"),
        ("nng+tcp://h:1", None, "tcp://h:1"),
        ("tcp://*:1", "nng", "tcp://0.0.0.0:1"),
    ],
)
def test_library_and_scheme_say_the_protocol(url, library, expected):
    (endpoint,) = parse({**STREAMING, "urls": [url], "library": library}).endpoints()
    assert str(endpoint) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"file_prefix": "../up"}, "must not contain '/'"),
        ({"file_suffix": "/etc"}, "must not contain '/'"),
        ({"file_suffix": "."}, "must not be empty"),
        ({"file_prefix": "x" * 300}, "at most 200 characters"),
        ({"sync_to_disk": "perhaps"}, "valid boolean"),
        ({"directory": "x"}, "not permitted"),
    ],
)
def test_file_names_cannot_leave_their_folder(values, message):
    with pytest.raises(ValidationError, match=message):
        parse({**FILES, **values})


def test_defaults_are_upstreams():
    files = parse(FILES)
    assert (files.name_prefix, files.file_suffix, str(files.write_directory)) == ("", "h5", ".")
    assert parse({**FILES, "file_suffix": ".h5"}).file_suffix == "h5"


@pytest.mark.parametrize(
    "values",
    [
        {**STREAMING, "library": "nng", "distribute": True, "send_timeout_seconds": 3},
        {**FILES, "file_prefix": "a", "file_suffix": ".npz", "write_directory": "out"},
    ],
)
def test_what_is_written_out_reads_the_same_again(values):
    """A transfer's configuration passes through JSON and YAML on its way to the job."""
    parameters = parse(values)
    assert parse(parameters.model_dump(mode="json")) == parameters


def test_one_bad_url_is_one_fault():
    with pytest.raises(ValidationError) as caught:
        parse({**STREAMING, "urls": ["tcp://127.0.0.1:1", "nonsense"]})
    assert [error["loc"][-2:] for error in caught.value.errors()] == [("urls", 1)]
