"""The service's OpenAPI under schemathesis, in its own virtual environment: no answer is a 500."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.interop, pytest.mark.slow]
VERSION = "4.32.5"


@pytest.fixture(scope="session")
def schemathesis(repository: Path, require: Any) -> Path:
    """The fuzzer; installed on first use."""
    folder = repository / ".cache" / f"schemathesis-{VERSION}"
    if not (folder / "bin" / "schemathesis").exists():
        uv = str(repository / "tools" / "uv")
        for words in (
            [uv, "venv", "--quiet", "--allow-existing", str(folder)],
            [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"),
             f"schemathesis=={VERSION}"],
        ):  # fmt: skip
            done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
            require(done.returncode == 0, f"schemathesis {VERSION} cannot be installed: "
                    f"{done.stderr[-300:]}; connect to PyPI or its mirror")  # fmt: skip
    return folder / "bin" / "schemathesis"


@pytest.mark.timeout(500)
def test_no_request_makes_the_service_fail(
    schemathesis: Path, processes: Any, tmp_path: Path, wait_for: Any, figure: Any
) -> None:
    config = tmp_path / "psik.json"
    # Nobody may submit: what is fuzzed is the service, not this machine with random scripts.
    policy = {"rules": [{"who": ["*"], "max_unfinished": 0}]}
    config.write_text(
        json.dumps(
            {"prefix": str(tmp_path / "jobs"), "policy": policy, "longest_wait_seconds": 0.2}
        )
    )
    served = processes.start(
        ["lclstream", "psik", "serve", "http://127.0.0.1:0", "--config", config,
         "--loopback-caller", "fuzz"]
    )  # fmt: skip
    wait_for(lambda: "listening" in served.stdout or served.process.poll() is not None)
    url = json.loads(served.stdout.splitlines()[0])["listening"]
    done = processes.run(
        [schemathesis, "run", f"{url}/openapi.json", "--checks", "not_a_server_error",
         "--phases", "coverage,fuzzing", "-n", "5", "--no-color", "--request-timeout", "30"],
        environment={"PYTHONPATH": "", "VIRTUAL_ENV": ""},
        cwd=tmp_path, timeout_seconds=460,
    )  # fmt: skip
    assert done.process.returncode == 0, done.stdout[-4000:]
    assert "Traceback" not in served.stderr, served.stderr[-4000:]
    generated = re.search(r"([\d,]+) generated", done.stdout)
    assert generated is not None
    figure("fuzzed_requests", generated[1])
