"""Downloaded jars are the ones that were pinned, or none."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

CONTENT = b"a jar"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture
def fetch_jars(repository: Path, tmp_path: Path) -> Iterator[ModuleType]:
    """The tool, pointed at a repository on loopback that holds one jar."""
    spec = importlib.util.spec_from_file_location("fetch_jars", repository / "tools/fetch_jars.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    served = tmp_path / "served"
    (served / "org").mkdir(parents=True)
    (served / "org/a.jar").write_bytes(CONTENT)
    handler = functools.partial(Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        module.REPOSITORY = f"http://127.0.0.1:{server.server_port}/"
        yield module
        server.shutdown()
        thread.join(5)


def test_a_jar_is_fetched_once(fetch_jars, tmp_path):
    entry = (hashlib.sha256(CONTENT).hexdigest(), "org/a.jar")
    assert fetch_jars.fetch(entry, tmp_path) is True
    assert (tmp_path / "a.jar").read_bytes() == CONTENT
    assert fetch_jars.fetch(entry, tmp_path) is False


def test_a_jar_that_is_not_the_pinned_one_is_refused_and_not_kept(fetch_jars, tmp_path):
    with pytest.raises(SystemExit, match="differs from its pinned SHA-256"):
        fetch_jars.fetch(("0" * 64, "org/a.jar"), tmp_path)
    assert list(tmp_path.glob("a.*")) == []


def test_a_jar_that_is_not_there_is_said(fetch_jars, tmp_path):
    with pytest.raises(SystemExit, match="cannot fetch"):
        fetch_jars.fetch(("0" * 64, "org/b.jar"), tmp_path)


def test_the_list_is_whole(fetch_jars, repository):
    jars = fetch_jars.read_list(repository / "tools/kafka-jars.txt")
    assert len(jars) > 40
    assert all(len(digest) == 64 and path.endswith(".jar") for digest, path in jars)
