"""Issue 3, line 6: no private key or secret in any output, exception, process list or open file."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+([A-Za-z0-9+/=\s]+)-----END")
CHOSEN = (
    "tests/unit/certified",
    "tests/unit/transport/test_tls.py",
    "tests/integration/certified",
    "tests/integration/signer",
)
PASSWORDS = (b"correct horse", b"hush")
"""Passphrases and passwords that those tests use."""


OPENED_ON_PURPOSE = re.compile(r"test_(a_)?keys?_that_others_can")
"""Tests that let others read a key, to see it refused."""


class ProcessList(threading.Thread):
    """Collects every command line of the machine while the tests run."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(place.read_bytes())
                except OSError:
                    continue
            time.sleep(0.1)


@pytest.mark.timeout(900)
def test_no_secret_leaves_its_file(repository, tmp_path, figure):
    base = tmp_path / "tree"
    watching = ProcessList()
    watching.start()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-rA", "-o", "log_level=DEBUG", "--showlocals",
         "-p", "no:cacheprovider", f"--basetemp={base}", "-o", "tmp_path_retention_policy=all",
         *CHOSEN],
        cwd=repository, capture_output=True, check=False, timeout=880,
        env={**os.environ, "LCLSTREAM_DEBUG": "", "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    watching.stopped.set()
    watching.join(5)
    assert done.returncode == 0, done.stdout[-3000:].decode(errors="replace")
    secrets = find_keys(base)
    assert len(secrets) > 50
    secrets |= set(PASSWORDS)
    output = done.stdout + done.stderr
    assert [one for one in secrets if one in output] == []
    assert [one for one in secrets for line in watching.seen if one in line] == []
    open_to_others, leaked, files = [], [], 0
    for path in (path for path in base.rglob("*") if path.is_file() and not path.is_symlink()):
        files += 1
        content, mode = path.read_bytes(), path.stat().st_mode
        if PRIVATE.search(content) and mode & 0o077:
            open_to_others.append(path)
        if is_output(path) and any(one in content for one in secrets):
            leaked.append(path)
    assert [path for path in open_to_others if not OPENED_ON_PURPOSE.search(str(path))] == []
    assert leaked == []
    figure("secrets_looked_for", len(secrets))
    figure("files_looked_into", files)
    figure("command_lines_looked_at", len(watching.seen))


def is_output(path: Path) -> bool:
    """Whether a file is what a program wrote for others: output, logs, certificates, records."""
    return path.suffix != ".key" and path.name != "loki.json"


def find_keys(base: Path) -> set[bytes]:
    """Every private key in the tree, in the forms it could leak in: PEM, bytes, hexadecimal."""
    found: set[bytes] = set()
    for path in base.rglob("*.key"):
        match = PRIVATE.search(path.read_bytes())
        if match is None:
            continue
        der = base64.b64decode(match[1])
        line = match[1].split()[0]
        # The first bytes of a key's DER only name its kind; what follows is secret.
        found |= {
            line if len(line) < 65 else match[1].split()[1],
            der[-32:],
            der[-32:].hex().encode(),
        }
    return found


def test_errors_and_json_of_a_wrong_passphrase_are_silent(tmp_path, processes):
    secret = "a-very-secret-passphrase"
    file = tmp_path / "passphrase"
    file.write_text(secret)
    file.chmod(0o600)
    environment = {"LCLSTREAM_IDENTITY_PASSPHRASE_FILE": str(file), "LCLSTREAM_DEBUG": "1"}
    words = ["lclstream", "certified"]
    tail = ["--config", tmp_path / "identity"]
    made = processes.run([*words, "init", "A", "--passphrase", *tail], environment=environment)
    assert made.process.returncode == 0, made.stderr
    assert b"ENCRYPTED" in (tmp_path / "identity" / "id.key").read_bytes()
    file.write_text(secret + "-wrong")
    wrong = processes.run([*words, "request", *tail], environment=environment)
    assert wrong.process.returncode == 78
    file.write_text(secret)
    file.chmod(0o644)
    opened = processes.run([*words, "request", "--json", *tail], environment=environment)
    assert opened.process.returncode != 0
    checked = processes.run([*words, "check", "--json", *tail], environment=environment)
    assert "can be read by others" in json.dumps(json.loads(checked.stdout))
    for run in (made, wrong, opened, checked):
        assert secret not in run.stdout + run.stderr
        assert "PRIVATE" not in run.stdout + run.stderr
