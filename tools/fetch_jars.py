"""Fetch the jars of a list into a folder, each checked against its SHA-256.

``fetch_jars.py LIST FOLDER``: runs on a bare Python; does nothing when everything is there.
"""

import hashlib
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = "https://repo1.maven.org/maven2/"
TIMEOUT_SECONDS = 60
ATTEMPTS = 3


def read_list(path: Path) -> list[tuple[str, str]]:
    """The (sha256, path) pairs of a list file; lines starting with '#' are comments."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [(line[0], line[1]) for line in lines if line and line[0] != "#"]


def download(url: str) -> bytes:
    """The bytes behind a URL, tried a few times."""
    reason = ""
    for _ in range(ATTEMPTS):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as reply:  # noqa: S310
                return reply.read()
        except OSError as error:
            reason = str(error)
    raise SystemExit(f"cannot fetch {url}: {reason}\n  mend: check the network")


def fetch(entry: tuple[str, str], folder: Path) -> bool:
    """Bring one jar; true when it was not there yet."""
    expected, path = entry
    target = folder / path.rsplit("/", 1)[1]
    if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == expected:
        return False
    content = download(REPOSITORY + path)
    if hashlib.sha256(content).hexdigest() != expected:
        raise SystemExit(f"{path} differs from its pinned SHA-256\n  mend: do not use it; tell us")
    partial = target.with_suffix(".part")
    partial.write_bytes(content)
    partial.rename(target)
    return True


def main() -> None:
    """Fetch what is missing, eight at a time."""
    jars, folder = read_list(Path(sys.argv[1])), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(8) as pool:
        fetched = sum(pool.map(lambda entry: fetch(entry, folder), jars))
    if fetched:
        print(f"fetched {fetched} jars into {folder}")


if __name__ == "__main__":
    main()
