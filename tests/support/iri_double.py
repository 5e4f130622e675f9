"""A double of an IRI facility API v1: the compute part, over jobs that really run here.

Made from its published models and routes (doe-iri/iri-facility-api-python and SLAC's S3DF
adapter): unknown fields are refused with 422, wrong tokens with 401, the list knows live jobs only,
records of ended ones are asked for one by one, and idempotency keys answer 501 where no store of
them is configured, as at NERSC.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from typing import Annotated, Any

from facility_jobs import FacilityJob, FacilityJobs
from facility_server import Asked, FacilityServer, Refusal
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

Count = Annotated[int, Field(ge=1)] | None
Text = Annotated[str, Field(min_length=1)] | None

SLURM_TO_IRI = {
    "PENDING": "queued",
    "RUNNING": "active",
    "COMPLETED": "completed",
    "CANCELLED": "canceled",
}
"""S3DF's map, as far as these jobs go; everything else there is ``failed``."""


class _Resources(BaseModel):
    model_config = ConfigDict(extra="forbid")
    node_count: Count = None
    process_count: Count = None
    processes_per_node: Count = None
    cpu_cores_per_process: Count = None
    gpu_cores_per_process: Count = None
    exclusive_node_use: StrictBool = True
    memory: Count = None


class _Attributes(BaseModel):
    model_config = ConfigDict(extra="forbid")
    duration: Count = None
    queue_name: Text = None
    account: Text = None
    reservation_id: Text = None
    custom_attributes: dict[str, str] = {}


class _JobSpec(BaseModel):
    model_config = ConfigDict(extra="forbid")
    executable: Text = None
    arguments: list[str] = []
    directory: Text = None
    name: Text = None
    inherit_environment: StrictBool = True
    environment: dict[str, str] = {}
    stdin_path: Text = None
    stdout_path: Text = None
    stderr_path: Text = None
    resources: _Resources | None = None
    attributes: _Attributes | None = None
    pre_launch: Text = None
    post_launch: Text = None
    launcher: Text = None


class IriDouble(FacilityServer):
    """Use as a context manager; `token` is the one it accepts."""

    def __init__(self, *, has_key_store: bool = True) -> None:
        super().__init__(FacilityJobs())
        self.token = secrets.token_urlsafe(24)
        self.resource = "milano"
        self.has_key_store = has_key_store
        self.specs: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, tuple[str, str]] = {}
        base = "/api/v1/compute"
        self.routes = {
            ("POST", re.compile(f"{base}/job/([^/]+)")): self._submit,
            ("POST", re.compile(f"{base}/status/([^/]+)")): self._list,
            ("GET", re.compile(f"{base}/status/([^/]+)/([^/]+)")): self._get,
            ("DELETE", re.compile(f"{base}/cancel/([^/]+)/([^/]+)")): self._cancel,
        }

    def _check(self, asked: Asked) -> None:
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "Invalid or expired token")
        if asked.parts[0] != self.resource:
            raise Refusal(404, f"Resource {asked.parts[0]} not found")

    def _submit(self, asked: Asked) -> tuple[int, Any]:
        self._check(asked)
        try:
            spec = _JobSpec.model_validate_json(asked.body)
        except ValidationError as error:
            raise Refusal(422, json.loads(error.json(include_url=False))) from error
        if spec.executable is None:
            raise Refusal(422, "job_spec.executable is required for Slurm submission")
        key, body = asked.headers.get("idempotency-key"), spec.model_dump_json()
        if key is not None:
            if not self.has_key_store:
                raise Refusal(501, "no idempotency store is configured")
            known = self._keys.get(key)
            if known is not None and known[1] != body:
                raise Refusal(422, "Idempotency-Key was used with another body")
            if known is not None:
                return 200, {"id": known[0], "status": {"state": "queued"}}
        jobid = self._launch(spec)
        if key is not None:
            self._keys[key] = jobid, body
        return 200, {"id": jobid, "status": {"state": "queued"}}

    def _launch(self, spec: _JobSpec) -> str:
        jobid = self.jobs.submit(
            [str(spec.executable), *spec.arguments],
            name=str(spec.name),
            directory=spec.directory or ".",
            output=spec.stdout_path or "/dev/null",
            limit_minutes=((spec.attributes and spec.attributes.duration) or 3600) // 60,
            environment=spec.environment,
        )
        self.specs[jobid] = spec.model_dump(exclude_none=True)
        return jobid

    def _list(self, asked: Asked) -> tuple[int, Any]:
        self._check(asked)
        unknown = set(asked.query) - {"offset", "limit", "historical", "include_spec"}
        limit = int(asked.query.get("limit", ["100"])[0])
        if unknown or not 0 <= limit <= 1000:
            raise Refusal(422, f"wrong query: {sorted(unknown)}, limit {limit}")
        if asked.query.get("historical") == ["true"]:
            raise Refusal(501, "Historical job listing is not implemented yet")
        offset = int(asked.query.get("offset", ["0"])[0])
        live = [job for job in self.jobs.jobs.values() if job.state in {"PENDING", "RUNNING"}]
        include = asked.query.get("include_spec") == ["true"]
        return 200, [self._document(job, include=include) for job in live[offset : offset + limit]]

    def _get(self, asked: Asked) -> tuple[int, Any]:
        self._check(asked)
        job = self.jobs.jobs.get(asked.parts[1])
        if job is None or job.state == "(forgotten)":
            raise Refusal(404, f"Job {asked.parts[1]} not found")
        return 200, self._document(job, include=False)

    def _cancel(self, asked: Asked) -> tuple[int, Any]:
        self._check(asked)
        if asked.parts[1] not in self.jobs.jobs:
            raise Refusal(500, f"Slurm cancel failed for job {asked.parts[1]}")
        self.jobs.cancel(asked.parts[1])
        return 204, None

    def _document(self, job: FacilityJob, *, include: bool) -> dict[str, Any]:
        state = SLURM_TO_IRI.get(job.state.split()[0], "failed")
        status: dict[str, Any] = {"state": state, "time": time.time()}
        if job.exit_code is not None:
            status["exit_code"] = job.exit_code
        spec = {"job_spec": self.specs[job.jobid]} if include else {}
        return {"id": job.jobid, "status": status, **spec}
