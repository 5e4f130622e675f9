"""Files of a job: nothing leads out, whatever it is called."""

from __future__ import annotations

import asyncio
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_lclstream.psik.job import JobNotFoundError
from airflow_provider_lclstream.psik.models import JobSpec
from airflow_provider_lclstream.psik.store import JobStore
from airflow_provider_lclstream.psik_api.folders import listing, opened, parts_of, store_file
from airflow_provider_lclstream.psik_api.http import file_answer, parse_range
from lclstreamer.core.errors import BadInputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("key")
    root = tmp_path / "work"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub" / "b.txt").write_text("bb")
    (root / "link").symlink_to("../secret")
    (root / "linked").symlink_to("..")
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/passwd", "..", "../secret", "sub/../../secret", "./a.txt", "a//b",
     "%2e%2e/secret", "%2Fetc%2Fpasswd", "sub%2F..%2F..%2Fsecret", "a\0b", "x" * 300,
     "/".join("x" * 100)],
)  # fmt: skip
def test_paths_that_lead_out_are_refused(path: str) -> None:
    with pytest.raises(BadInputError):
        parts_of(path, is_encoded=True)


@pytest.mark.parametrize("path", ["link", "linked/secret", "linked", "pipe", "none", "a.txt/x"])
def test_links_and_oddities_are_not_there(root: Path, path: str) -> None:
    with pytest.raises(JobNotFoundError), opened(root, parts_of(path)):
        pass


def test_a_file_is_read_also_by_its_encoded_name(root: Path) -> None:
    for path in ("sub/b.txt", "sub%2Fb.txt"):
        with opened(root, parts_of(path, is_encoded=True)) as handle:
            assert os.read(handle, 10) == b"bb"


def test_a_listing_shows_files_and_folders_only(root: Path) -> None:
    with opened(root, []) as handle:
        found = listing(handle)
    assert set(found) == {"a.txt", "sub"}
    assert found["a.txt"]["size"] == 1
    assert found["a.txt"]["children"] is False
    assert set(found["sub"]["children"]) == {"b.txt"}


def test_a_file_that_goes_while_it_is_listed_is_left_out(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = os.listdir

    def remove_after(folder: int) -> list[str]:
        found = names(folder)
        (root / "a.txt").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(os, "listdir", remove_after)
    with opened(root, []) as handle:
        assert set(listing(handle)) == {"sub"}


def test_files_are_written_whole_or_not_at_all(root: Path) -> None:
    assert store_file(root, ["new", "deep", "c"], iter([b"12", b"34"]), 10) == 4
    assert (root / "new" / "deep" / "c").read_bytes() == b"1234"
    with pytest.raises(BadInputError, match="longer than 3"):
        store_file(root, ["big"], iter([b"12", b"34"]), 3)
    assert {p.name for p in root.iterdir()} == {"a.txt", "sub", "link", "linked", "pipe", "new"}


@pytest.mark.parametrize("parts", [["linked", "secret"], ["linked", "new", "x"], ["a.txt", "x"]])
def test_nothing_is_written_through_a_link(root: Path, parts: list[str]) -> None:
    with pytest.raises(JobNotFoundError):
        store_file(root, parts, iter([b"evil"]), 10)
    assert (root.parent / "secret").read_text() == "key"


def test_a_link_is_replaced_not_followed(root: Path) -> None:
    store_file(root, ["link"], iter([b"mine"]), 10)
    assert (root.parent / "secret").read_text() == "key"
    assert (root / "link").read_text() == "mine"
    with pytest.raises(BadInputError):
        store_file(root, ["sub"], iter([b"x"]), 10)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        (None, (0, 10)),
        ("bytes=0-3", (0, 4)),
        ("bytes=3-", (3, 7)),
        ("bytes=-4", (6, 4)),
        ("bytes=-99", (0, 10)),
        ("bytes=5-99", (5, 5)),
        ("bytes=10-", None),
        ("bytes=5-2", None),
        ("bytes=-0", None),
        ("bytes=-", (0, 10)),
        ("bytes=0-1,3-4", (0, 10)),
        ("lines=1-2", (0, 10)),
    ],
)
def test_ranges(text: str | None, chosen: tuple[int, int] | None) -> None:
    assert parse_range(text, 10) == chosen


def _open_files(folder: Path) -> list[Path]:
    targets = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    return [path for path in targets if path.is_relative_to(folder)]


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_file_is_closed_also_where_the_client_left_before_its_first_piece(
    tmp_path: Path, is_gone: bool
) -> None:
    job = JobStore(tmp_path).create(JobSpec(script=":"), files={"big": "x" * 2**20})
    answer, sent = file_answer(job, "big", {}), list[bytes]()

    async def receive() -> MutableMapping[str, Any]:
        if not is_gone:
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b""))

    asyncio.run(answer({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send))
    assert len(b"".join(sent)) == (0 if is_gone else 2**20)
    assert _open_files(tmp_path) == []
