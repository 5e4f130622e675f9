"""What comes back from a service, while several processes fetch it."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import IO

import pytest

from airflow_provider_lclstream.psik.backends.results import received, write_below


def _tar(content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo("out.json")
        member.size, member.mode = len(content), 0o755
        tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _fetch(folder: Path, content: bytes) -> None:
    with received([_tar(content)], folder.parent, 2**20) as tar:
        for member in tar:
            write_below(folder, member.name, tar, member)


@pytest.mark.parametrize("is_killed", [False, True])
def test_results_that_are_fetched_again_are_whole_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    _fetch(folder, b"whole")
    copy, seen = shutil.copyfileobj, list[bytes]()

    def copy_slowly(source: IO[bytes], target: IO[bytes]) -> None:
        seen.append((folder / "out.json").read_bytes())
        if is_killed:
            raise KeyboardInterrupt
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", copy_slowly)
    try:
        _fetch(folder, b"whole")
    except KeyboardInterrupt:
        assert is_killed
    assert seen == [b"whole"]
    assert (folder / "out.json").read_bytes() == b"whole"
    assert [path.name for path in folder.iterdir()] == ["out.json"]
    assert (folder / "out.json").stat().st_mode & 0o777 == 0o755
