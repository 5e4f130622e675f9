import os
import threading

import pytest

from lclstreamer.core.errors import OutputError
from lclstreamer.core.events import Message
from lclstreamer.handlers.files import BinaryFileWritingDataHandler
from lclstreamer.parameters.handlers import BinaryFileWritingDataHandlerParameters


def handler_in(folder, rank=0, size=1, **parameters):
    return BinaryFileWritingDataHandler(
        BinaryFileWritingDataHandlerParameters(
            type="BinaryFileWritingDataHandler", write_directory=folder, **parameters
        ),
        rank,
        size,
    )


def message(sequence, payload=b"payload", rank=0):
    return Message(payload, rank=rank, sequence=sequence, events=1)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("prefix", "suffix", "name"),
    [
        ("", "h5", "r3_0.h5"),
        ("run7", "h5", "run7_r3_0.h5"),
        ("run7_", ".npz", "run7_r3_0.npz"),
        ("", "tar.gz", "r3_0.tar.gz"),
    ],
)
def test_names_are_upstreams(prefix, suffix, name, tmp_path):
    handler = handler_in(tmp_path, rank=3, file_prefix=prefix, file_suffix=suffix)
    handler.open()
    handler.handle(message(0))
    assert names_in(tmp_path) == [name]


@pytest.mark.parametrize("sync_to_disk", [False, True])
@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_every_message_is_a_file_and_counted(buffer, sync_to_disk, tmp_path):
    handler = handler_in(tmp_path / "new" / "folder", sync_to_disk=sync_to_disk)
    handler.open()
    payloads = [os.urandom(size) for size in (0, 1, 100_000)]
    for sequence, payload in enumerate(payloads):
        handler.handle(message(sequence, buffer(payload)))
    report = handler.close()
    assert (report.messages, report.bytes, report.confirmed_messages) == (3, 100_001, 3)
    assert report.problems == []
    folder = tmp_path / "new" / "folder"
    assert [(folder / f"r0_{n}.h5").read_bytes() for n in range(3)] == payloads
    assert len(names_in(folder)) == 3


def test_a_file_has_its_name_only_when_it_is_complete(tmp_path):
    """Upstream writes under the final name, so that whoever watches the folder reads half files."""
    payload = b"x" * 20_000_000
    handler = handler_in(tmp_path)
    handler.open()
    writer = threading.Thread(
        target=lambda: [handler.handle(message(n, payload)) for n in range(5)]
    )
    writer.start()
    sizes = set()
    while writer.is_alive():
        sizes |= {path.stat().st_size for path in tmp_path.glob("*.h5")}
    writer.join()
    assert sizes <= {len(payload)}
    assert len(list(tmp_path.glob("*.h5"))) == 5


def test_the_folder_of_a_relative_path_is_where_the_program_was_started(tmp_path, monkeypatch):
    """Upstream's default is the folder at the time of its import."""
    monkeypatch.chdir(tmp_path)
    handler = handler_in("output")
    monkeypatch.chdir("/")
    handler.open()
    handler.handle(message(0))
    assert (tmp_path / "output" / "r0_0.h5").exists()
    parameters = BinaryFileWritingDataHandlerParameters(type="BinaryFileWritingDataHandler")
    monkeypatch.chdir(tmp_path / "output")
    default = BinaryFileWritingDataHandler(parameters, 0, 1)
    default.open()
    default.handle(message(1))
    assert (tmp_path / "output" / "r0_1.h5").exists()


def test_an_earlier_file_is_replaced(tmp_path):
    (tmp_path / "r0_0.h5").write_bytes(b"a longer file of an earlier run")
    handler = handler_in(tmp_path)
    handler.open()
    handler.handle(message(0, b"new"))
    assert (tmp_path / "r0_0.h5").read_bytes() == b"new"


def test_a_folder_that_is_a_file_is_refused_at_once(tmp_path):
    (tmp_path / "taken").touch()
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(OutputError, match="cannot write into the folder") as caught:
            handler_in(folder).open()
        assert "write_directory" in caught.value.mend


def test_an_unwritable_folder_is_refused_at_once(tmp_path):
    # Root may write anywhere but where the kernel itself makes the files.
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    for path in ["/proc/lclstreamer", *([folder] if os.geteuid() else [])]:
        with pytest.raises(OutputError, match="cannot write into the folder") as caught:
            handler_in(path).open()
        assert caught.value.where == str(path)
        assert caught.value.exit_code == 73


def test_a_full_disk_is_told_and_leaves_no_half_file(tmp_path):
    handler = handler_in(tmp_path)
    handler.open()
    handler.handle(message(0))
    (tmp_path / ".r0_1.h5.part").symlink_to("/dev/full")  # a device on which no space is left
    with pytest.raises(OutputError, match="No space left on device") as caught:
        handler.handle(message(1, b"x" * 1000))
    assert "free space" in caught.value.mend
    assert names_in(tmp_path) == ["r0_0.h5"]
    report = handler.close()
    assert (report.messages, report.confirmed_messages) == (1, 1)
    assert "message 1" in report.problems[0]


def test_a_folder_that_vanishes_is_told(tmp_path):
    handler = handler_in(tmp_path / "gone")
    handler.open()
    (tmp_path / "gone").rmdir()
    with pytest.raises(OutputError, match="cannot write message 4"):
        handler.handle(message(4))


def test_close_without_open_reports_nothing(tmp_path):
    report = handler_in(tmp_path / "never").close()
    assert (report.messages, report.confirmed_messages, report.problems) == (0, 0, [])
    assert not (tmp_path / "never").exists()
