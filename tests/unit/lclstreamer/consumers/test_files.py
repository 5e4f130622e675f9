from __future__ import annotations

import io
import tarfile
from itertools import pairwise

import h5py
import numpy as np
import pytest

from lclstreamer.consumers import files
from lclstreamer.core.errors import OutputError, UsageError


def hdf5():
    room = io.BytesIO()
    with h5py.File(room, "w") as file:
        file["x"] = 1
    return room.getvalue()


def npz():
    room = io.BytesIO()
    np.savez(room, x=np.arange(3))
    return room.getvalue()


def npy():
    room = io.BytesIO()
    np.save(room, np.arange(3))
    return room.getvalue()


@pytest.mark.parametrize(
    ("message", "suffix"),
    [
        (hdf5(), ".h5"), (npz(), ".npz"), (npy(), ".npy"), (b"\x82\xa1a\x01\xa1b\x02", ".msgpack"),
        (b"\xde\x00\x00", ".msgpack"), (b"", ".bin"), (b"anything", ".bin"), (b"PK", ".bin"),
    ],
)  # fmt: skip
def test_the_suffix_is_that_of_the_content(message, suffix):
    assert files.suffix_of(message) == suffix
    assert files.suffix_of(memoryview(message)) == suffix


def test_messages_become_numbered_files_and_nothing_else_is_left(tmp_path):
    folder = files.Folder(tmp_path / "new" / "out")
    for message in (hdf5(), b"text", npz()):
        folder.write(memoryview(message))
    folder.close()
    written = sorted((tmp_path / "new" / "out").iterdir())
    assert [path.name for path in written] == ["00000.h5", "00001.bin", "00002.npz"]
    assert [path.read_bytes() for path in written] == [hdf5(), b"text", npz()]


def test_a_file_that_is_there_is_never_replaced(tmp_path):
    (tmp_path / "00001.bin").write_bytes(b"precious")
    folder = files.Folder(tmp_path)
    folder.write(memoryview(b"first"))
    with pytest.raises(OutputError, match=r"00001\.bin is there already"):
        folder.write(memoryview(b"second"))
    assert (tmp_path / "00001.bin").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.bin", "00001.bin"]


def test_a_folder_that_is_used_is_refused_before_the_first_message(tmp_path):
    (tmp_path / "00000.h5").touch()
    with pytest.raises(OutputError, match="empty folder"):
        files.Folder(tmp_path)


def test_without_hard_links_a_file_is_not_replaced_either(tmp_path, monkeypatch):
    def no_links(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", no_links)
    folder = files.Folder(tmp_path)
    folder.write(memoryview(b"first"))
    (tmp_path / "00001.bin").write_bytes(b"precious")
    with pytest.raises(OutputError, match="is there already"):
        folder.write(memoryview(b"second"))
    assert (tmp_path / "00000.bin").read_bytes() == b"first"
    assert (tmp_path / "00001.bin").read_bytes() == b"precious"


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        files.Folder(tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    ("name_format", "names"),
    [
        ("{index:05d}{suffix}", ["00000.h5", "00001.h5"]),
        ("run7-{index}.bin", ["run7-0.bin", "run7-1.bin"]),
        ("%03d.h5", ["000.h5", "001.h5"]),
    ],
)
def test_names_follow_the_format(name_format, names):
    name = files.naming(name_format)
    assert [name(index, ".h5") for index in range(2)] == names


def test_names_of_many_programs_differ():
    name = files.naming("{host}-{pid}-{index}{suffix}")
    made = [name(index, ".h5") for index in range(5)]
    assert all(one != other for one, other in pairwise(made))


@pytest.mark.parametrize(
    "name_format", ["same.h5", "{suffix}", "{unknown}", "%d%d", "a/{index}", "{index", "%s.h5"[:0]]
)
def test_formats_that_make_no_names_are_refused(name_format):
    with pytest.raises(UsageError, match="does not make a name"):
        files.naming(name_format)


def test_a_tar_holds_every_message():
    room = io.BytesIO()
    tar = files.Tar(room)
    for message in (hdf5(), b"", b"text"):
        tar.write(memoryview(message))
    tar.close()
    room.seek(0)
    with tarfile.open(fileobj=room) as archive:
        held = {member.name: archive.extractfile(member).read() for member in archive}
    assert held == {"00000.h5": hdf5(), "00001.bin": b"", "00002.bin": b"text"}
