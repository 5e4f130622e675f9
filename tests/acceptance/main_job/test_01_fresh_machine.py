"""On a bare Debian 12 with Python 3.11 (venv), make and git, `make demo` and `make test` just work.

Takes many minutes and the network, needs root and debootstrap: LCLSTREAM_TEST_FRESH_MACHINE=1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGES = "ca-certificates,git,make,python3,python3-venv"
TRUST = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO")
FIRST_DEMO_SECONDS = 8 * 60
SECOND_DEMO_SECONDS = 2 * 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.opt_in("LCLSTREAM_TEST_FRESH_MACHINE"),
    pytest.mark.timeout(3600),
]


@dataclass
class Machine:
    """A Debian tree, entered in mount and process namespaces of its own."""

    tree: Path

    def run(self, command: str, *, user: str = "root", timeout_seconds: float = 60) -> float:
        """Run a shell command as a user in a login shell; the seconds it took."""
        trust = " ".join(f"{name}={os.environ[name]}" for name in TRUST if name in os.environ)
        mounts = (
            f"mount --rbind /dev {self.tree}/dev && mount -t proc proc {self.tree}/proc && "
            f"mount --rbind /sys {self.tree}/sys && "
            f"mount -t tmpfs -o mode=1777 tmp {self.tree}/dev/shm"
        )
        enter = f"chroot {self.tree} su - {user} -c 'export {trust} X=; {command}'"
        started = time.monotonic()
        done = subprocess.run(
            [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                f"{mounts} && {enter}",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
        )
        seconds = time.monotonic() - started
        assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        return seconds


@pytest.fixture(scope="module")
def bare_debian(
    tmp_path_factory: pytest.TempPathFactory, require: Callable[[bool, str], None]
) -> Iterator[Path]:
    """The tree that debootstrap makes, to be copied, not changed."""
    require(os.geteuid() == 0 and shutil.which("debootstrap"), "run as root, with debootstrap")
    tree = tmp_path_factory.mktemp("debian") / "bookworm"
    options = ["--variant=minbase", f"--include={PACKAGES}"]
    subprocess.run(
        ["debootstrap", *options, "bookworm", tree, "http://deb.debian.org/debian"],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=900,
    )
    shutil.copy("/etc/resolv.conf", tree / "etc/resolv.conf")
    if Path("/etc/ssl/certs/ca-certificates.crt").exists():  # this network may have its own root
        shutil.copy(
            "/etc/ssl/certs/ca-certificates.crt", tree / "etc/ssl/certs/ca-certificates.crt"
        )
    yield tree
    shutil.rmtree(tree)


@pytest.fixture
def machine(bare_debian: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine of one's own."""
    tree = tmp_path / "machine"
    subprocess.run(["cp", "-a", bare_debian, tree], check=True, timeout=300)
    yield Machine(tree)
    shutil.rmtree(tree)


@pytest.mark.parametrize("user", ["newcomer", "root"])
def test_demo_and_tests_run_without_a_step_by_hand(machine, user, repository, figure):
    home = machine.tree / ("root" if user == "root" else f"home/{user}")
    if user != "root":
        machine.run(f"useradd --create-home --shell /bin/bash {user}")
    checkout = home / "lclstream"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", repository, checkout], check=True)
    machine.run(f"chown -R {user}: /{checkout.relative_to(machine.tree)}")

    first = machine.run("cd lclstream && make demo", user=user, timeout_seconds=900)
    second = machine.run("cd lclstream && make demo", user=user, timeout_seconds=300)
    tests = machine.run("cd lclstream && make test", user=user, timeout_seconds=2400)

    figure(f"fresh_machine_{user}_first_demo_seconds", first)
    figure(f"fresh_machine_{user}_second_demo_seconds", second)
    figure(f"fresh_machine_{user}_tests_seconds", tests)
    assert first <= FIRST_DEMO_SECONDS
    assert second <= SECOND_DEMO_SECONDS
