"""A signer under a user of its own, and callers under others. Needs root, curl and setpriv."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from identities import organisation

from airflow_provider_lclstream.certified.folder import IdentityFolder

DAEMON, BIN, NOBODY = 1, 2, 65534
SIGNER_UID, NAMELESS_UID = 4242, 4343
MAY_CHANGE_USER = os.geteuid() == 0 and all(map(shutil.which, ("setpriv", "curl")))
MEND = "run as root, with curl and setpriv: apt-get install curl util-linux"

# The interpreter may live in root's home: callers may read files, but not write or connect.
READ_FILES = "-all,+dac_read_search"


def as_user(uid: int, words: Sequence[str | Path]) -> list[str]:
    """A command line run under another user."""
    return [
        "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups",
        f"--inh-caps={READ_FILES}", f"--ambient-caps={READ_FILES}", "--", *map(str, words),
    ]  # fmt: skip


class Site:
    """A folder everybody may enter, with the signer's identity in it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="signer-", dir="/tmp"))
        self.path.chmod(0o755)
        self.socket = self.path / "run" / "sock"
        self.identity: IdentityFolder = organisation(self.path / "identity", "signer")
        (self.path / "run").mkdir()
        give(self.path / "run", SIGNER_UID)
        give(self.identity.path, SIGNER_UID)

    def command(self, venv_bin: Path, *options: str | Path) -> list[str]:
        """The command that runs the signer."""
        words = [venv_bin / "lclstream", "signer", "serve", "--config", self.identity.path,
                 "--socket", self.socket, "--minimum-uid", "1", *options]  # fmt: skip
        return as_user(SIGNER_UID, words)

    def remove(self) -> None:
        """Take it all away."""
        shutil.rmtree(self.path, ignore_errors=True)


def give(path: Path, uid: int) -> None:
    """Give a folder and all in it to a user."""
    for one in (path, *path.rglob("*")):
        os.chown(one, uid, uid)


def curl(site: Site, uid: int, method: str, target: str) -> list[str]:
    """The command line of a caller: real curl under another user."""
    words = ["curl", "-sS", "--max-time", "20", "-X", method, "-H", "accept: application/json",
             "--unix-socket", str(site.socket), f"http://localhost{target}"]  # fmt: skip
    return as_user(uid, words)


def answer(running) -> dict:
    """The JSON that a caller got."""
    return json.loads(running.stdout)
