"""A double of NERSC's Superfacility API v1.2: tokens, tasks and jobs that really run here.

Made from its published interface, as NERSC's own client uses it: a token for a statement signed
with the client's key (checked in full), forms, tasks whose result is JSON in a string, failures
with status 200, sacct's rows with all values as text. It is not NERSC: there is one user, one
machine, and of sbatch's options only those a job needs here.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import shlex
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from facility_jobs import FacilityJobs
from facility_server import Asked, FacilityServer, Refusal

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class SfapiDouble(FacilityServer):
    """Use as a context manager; `key_pem` is its client's private key file's content."""

    def __init__(self) -> None:
        super().__init__(FacilityJobs())
        self.client_id = "abcdefghijklm"
        self._key = rsa.generate_private_key(65537, 2048)
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.key_pem = f"{self.client_id}\n{pem.decode()}"
        self.tokens: dict[str, float] = {}
        self.token_seconds = 600.0
        self.task_seconds = 0.15
        """How long a submission takes."""
        self._statements: set[str] = set()
        self._tasks: dict[str, tuple[float, str]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="lclstream-sfapi-")
        jobs = r"/api/v1\.2/compute/jobs/(\w+)"
        self.routes = {
            ("POST", re.compile("/c2id/token")): self._give_token,
            ("POST", re.compile(jobs)): self._submit,
            ("GET", re.compile(jobs)): self._sacct,
            ("DELETE", re.compile(jobs + "/([^/]+)")): self._cancel,
            ("GET", re.compile(r"/api/v1\.2/tasks/(\w+)")): self._task,
            ("GET", re.compile(r"/api/v1\.2/account/")): self._account,
        }

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._folder.cleanup()

    def _give_token(self, asked: Asked) -> tuple[int, Any]:
        form = asked.form()
        is_asked_well = (
            form.get("grant_type") == "client_credentials"
            and form.get("client_assertion_type") == ASSERTION
        )
        if not is_asked_well or not self._is_ours(form.get("client_assertion", "")):
            return 401, {"error": "invalid_client", "error_description": "Client authentication"}
        token = secrets.token_urlsafe(16)
        self.tokens[token] = time.monotonic() + self.token_seconds
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 600}

    def _is_ours(self, statement: str) -> bool:
        signed, _, signature = statement.rpartition(".")
        header, _, claims = signed.partition(".")
        try:
            self._key.public_key().verify(
                _decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return False
        said, now = json.loads(_decoded(claims)), time.time()
        is_new = said["jti"] not in self._statements
        self._statements.add(said["jti"])
        return (
            json.loads(_decoded(header))["alg"] == "RS256"
            and said["iss"] == said["sub"] == self.client_id
            and said["aud"] == f"{self.url}/c2id/token"
            and said["iat"] - 60 <= now < said["exp"] <= now + 3600
            and is_new
        )

    def _check(self, asked: Asked) -> None:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, 0.0) <= time.monotonic():
            raise Refusal(401, "Could not validate credentials")
        if asked.parts and asked.parts[0] != "perlmutter" and len(asked.parts[0]) < 16:
            raise Refusal(422, f"{asked.parts[0]} is no machine")

    def _submit(self, asked: Asked) -> tuple[int, Any]:
        self._check(asked)
        form = asked.form()
        if form.get("isPath") != "false" or not form.get("job", "").startswith("#!"):
            return 200, {"status": "ERROR", "task_id": None, "error": "no script was given"}
        task_id = secrets.token_hex(12)
        self._tasks[task_id] = time.monotonic() + self.task_seconds, self._sbatch(form["job"])
        return 200, {"status": "OK", "task_id": task_id, "error": None}

    def _sbatch(self, script: str) -> str:
        lines = [line for line in script.splitlines() if line.startswith("#SBATCH ")]
        words = [word for line in lines for word in shlex.split(line.removeprefix("#SBATCH "))]
        options = {name: value for name, _, value in (word.partition("=") for word in words)}
        if "--constraint" not in options:
            error = "sbatch: error: Job request does not match any supported policy."
            return json.dumps({"status": "error", "jobid": None, "error": error})
        path = Path(self._folder.name) / secrets.token_hex(8)
        path.write_text(script)
        jobid = self.jobs.submit(
            ["/bin/bash", str(path)],
            name=options["--job-name"],
            directory=options["--chdir"],
            output=options["--output"].replace("%%", "%"),
            limit_minutes=float(options["--time"]),
            environment={"SLURM_JOB_ID": str(1000 + len(self.jobs.jobs))},
        )
        return json.dumps({"status": "ok", "jobid": jobid, "error": None})

    def _task(self, asked: Asked) -> tuple[int, Any]:
        self._check(asked)
        if asked.parts[0] not in self._tasks:
            raise Refusal(404, "Task not found")
        done_at, result = self._tasks[asked.parts[0]]
        is_done = time.monotonic() >= done_at
        status = "completed" if is_done else "new"
        return 200, {"id": asked.parts[0], "status": status, "result": result if is_done else None}

    def _sacct(self, asked: Asked) -> tuple[int, Any]:
        self._check(asked)
        if asked.query.get("sacct") != ["true"]:
            return 200, {"status": "ERROR", "output": [], "error": "squeue is not played here"}
        filters = dict(word.split("=", 1) for word in asked.query.get("kwargs", []))
        wanted = filters["jobid"].split(",") if "jobid" in filters else list(self.jobs.jobs)
        if filters.get("user", "lclstream") != "lclstream":
            wanted = []
        found = (self.jobs.jobs[jobid] for jobid in wanted if jobid in self.jobs.jobs)
        rows: list[dict[str, str]] = []
        for job in found:
            if job.state != "(forgotten)":
                row = {"jobid": job.jobid, "jobname": job.name, "state": job.state}
                rows += [{**row, "reason": "None", "exitcode": f"{job.exit_code or 0}:0"}]
                rows += [{**row, "jobid": f"{job.jobid}.batch", "jobname": "batch"}]
        return 200, {"status": "OK", "output": rows, "error": None}

    def _cancel(self, asked: Asked) -> tuple[int, Any]:
        self._check(asked)
        if asked.parts[1] not in self.jobs.jobs:
            error = f"scancel: error: Kill job error on job id {asked.parts[1]}: Invalid job id"
            return 200, {"status": "ERROR", "output": None, "error": error}
        self.jobs.cancel(asked.parts[1])
        return 200, {"status": "OK", "output": None, "error": None}

    def _account(self, asked: Asked) -> tuple[int, Any]:
        self._check(asked)
        return 200, {"name": "lclstream", "uid": 1000}


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
