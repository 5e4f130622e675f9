"""A prefix full of job folders: making, finding and removing them."""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from airflow_provider_lclstream.psik.backends import open_backend
from airflow_provider_lclstream.psik.backends.base import Backend
from airflow_provider_lclstream.psik.job import Job, JobNotFoundError
from airflow_provider_lclstream.psik.layout import (
    PRIVATE,
    JobFolder,
    is_jobid,
    new_jobid,
    read_json,
    write_atomically,
    write_json,
)
from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, PsikConfig
from airflow_provider_lclstream.psik.notes import about_of
from airflow_provider_lclstream.psik.state_log import holding
from airflow_provider_lclstream.psik.states import JobState, TransitionRefusedError
from lclstreamer.core.errors import (
    BadInputError,
    ConfigurationError,
    OutputError,
    TemporaryError,
    UnavailableError,
)

Files = Mapping[str, "str | bytes"]


@dataclass(frozen=True)
class _Recipe:
    """What a new job folder is made from."""

    spec: JobSpec
    files: Mapping[PurePosixPath, str | bytes]
    about: Mapping[str, object]


class JobStore:
    """The jobs under one prefix, and the backends that run them."""

    def __init__(self, prefix: Path, backends: Mapping[str, BackendConfig] | None = None) -> None:
        self.prefix = Path(prefix)
        self.backends = dict(backends) if backends else {"default": BackendConfig()}
        self._opened: dict[str, Backend] = {}
        try:
            self._private.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise OutputError(
                f"the prefix of the jobs cannot be made: {error.strerror}",
                where=str(prefix),
                mend="choose a prefix that this user may write to, in psik.json",
            ) from error

    @classmethod
    def from_config(cls, config: PsikConfig) -> JobStore:
        """Open the store that a configuration names."""
        return cls(config.prefix, config.backends)

    def create(
        self,
        spec: JobSpec,
        *,
        idempotency_key: str | None = None,
        files: Files | None = None,
        owner: str | None = None,
    ) -> Job:
        """Make a job folder, whole or not at all. The job is ``new``; `Job.submit` queues it.

        Args:
            spec: what to run.
            idempotency_key: the same key gives the same job, however often it is asked for.
            files: content by relative path, written into the job's work folder.
            owner: whose job it is, where a service keeps jobs of several people.

        Raises:
            ConfigurationError: the backend is unknown or refuses such a job.
            BadInputError: a file's path leaves the work folder.
            OutputError: the folder cannot be written.
        """
        self.backend(spec.backend).check(spec)
        checked = {safe_path(name): content for name, content in (files or {}).items()}
        recipe = _Recipe(spec, checked, {"owner": owner} if owner else {})
        try:
            if idempotency_key is None:
                return Job(self._make(recipe, new_jobid(time.time())), self)
            return Job(self._make_once(recipe, idempotency_key), self)
        except OSError as error:
            self.require_prefix()
            raise OutputError(
                f"the job folder cannot be written: {error.strerror}",
                where=str(self.prefix),
                mend="make room or mend the permissions of the prefix",
            ) from error

    def get(self, jobid: str) -> Job:
        """Find a job.

        Raises:
            JobNotFoundError: there is none of this id.
            UnavailableError: the folder of jobs itself is away.
        """
        if is_jobid(jobid):
            folder = JobFolder(self.prefix / jobid)
            if folder.status.is_file():
                return Job(folder, self)
            self.require_prefix()
        raise JobNotFoundError(
            f"there is no job {jobid!r}", mend="`lclstream psik ls` lists the jobs"
        )

    def of_key(self, idempotency_key: str) -> Job | None:
        """The job that was made with this key, if there is one."""
        noted = read_json(self._claim(_digest(idempotency_key)))
        if noted is None:
            return None
        folder = JobFolder(self.prefix / noted["jobid"])
        is_ours = about_of(folder).get("key") == _digest(idempotency_key)
        return Job(folder, self) if is_ours else None

    def require_prefix(self) -> None:
        """Make sure that the folder of jobs is there: its file system may not be mounted.

        Raises:
            UnavailableError: it is away, which says nothing about its jobs.
        """
        if not self._private.is_dir():
            raise UnavailableError(
                "the folder of jobs is away",
                where=str(self.prefix),
                mend="look whether its file system is mounted; its jobs are not lost by that",
            )

    def jobs(self) -> list[Job]:
        """All jobs, the newest first."""
        with os.scandir(self.prefix) as entries:
            names = [entry.name for entry in entries if is_jobid(entry.name)]
        names.sort(key=lambda name: (len(name.split(".", 1)[0]), name), reverse=True)
        return [Job(JobFolder(self.prefix / name), self) for name in names]

    def remove(self, jobid: str) -> None:
        """Delete a job that has ended, with everything in its folder.

        Raises:
            TransitionRefusedError: it is queued or active.
            OutputError: it is no job any more, but part of its folder is still there.
        """
        job = self.get(jobid)
        if job.pending_attempt() is not None:
            job.reconcile()
        key = job.about.get("key")
        grave = self._private / f"removed-{jobid}-{secrets.token_hex(4)}"
        with job.settled() as last:  # nobody starts it from here on
            if last.state in {JobState.queued, JobState.active}:
                raise TransitionRefusedError(f"job {jobid} is {last.state}", mend="cancel it first")
            try:
                job.folder.rename(grave)
            except OSError as error:
                raise OutputError(
                    f"the job cannot be removed: {error.strerror}",
                    where=str(job.folder),
                    mend="mend the permissions of the prefix, or ask who may write to it",
                ) from error
        self._forget(key, jobid)
        for leftover in (grave, *self._leftovers()):
            _delete(leftover)

    def _forget(self, digest: str | None, jobid: str) -> None:
        """Let go of the key that made a job which is removed."""
        if digest is None:
            return
        claim = self._claim(digest)
        with self._key_lock(digest):
            if (read_json(claim) or {}).get("jobid") == jobid:
                claim.unlink(missing_ok=True)

    def _leftovers(self) -> Iterator[Path]:
        """What deletions and creations have left that were killed in their midst."""
        yield from self._private.glob("removed-*")
        for path in self._private.glob("making-*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > 86400:
                    yield path

    def backend(self, name: str) -> Backend:
        """The backend of a configured name.

        Raises:
            ConfigurationError: there is none.
        """
        if name not in self._opened:
            config = self.backends.get(name)
            if config is None:
                raise self._unknown_backend(name)
            self._open(name, config)
        return self._opened[name]

    def backend_of(self, job: Job) -> Backend:
        """The backend a job runs on; as it was frozen in the job, if the name is gone by now."""
        name = job.spec.backend
        if name not in self.backends and name not in self._opened:
            self._open(name, BackendConfig.model_validate(job.about.get("backend", {})))
        return self.backend(name)

    def _open(self, name: str, config: BackendConfig) -> None:
        # Threads that come together must get the same one: it bounds how many submit at once.
        self._opened.setdefault(name, open_backend(name, config, self.prefix))

    @property
    def _private(self) -> Path:
        return self.prefix / PRIVATE

    def _claim(self, digest: str) -> Path:
        """Where it is noted which job a key has made."""
        return self._private / "keys" / digest

    def _key_lock(self, digest: str) -> AbstractContextManager[None]:
        # A few locks for all keys: one for each would have to stay for ever.
        return holding(self._private / "keys" / f"{digest[:2]}.lock")

    def _make_once(
        self,
        recipe: _Recipe,
        key: str,
    ) -> JobFolder:
        digest = _digest(key)
        claim = self._claim(digest)
        claim.parent.mkdir(parents=True, exist_ok=True)
        with self._key_lock(digest):
            noted = read_json(claim)
            if noted and about_of(JobFolder(self.prefix / noted["jobid"])).get("key") == digest:
                return JobFolder(self.prefix / noted["jobid"])
            keyed = replace(recipe, about={**recipe.about, "key": digest})
            while True:
                # The id is noted before the folder is made, so a crash between the two leaves a
                # note without a folder, never a folder that nobody finds again. An id that was
                # noted before may be that of a job which is being removed: it is not used again.
                jobid = new_jobid(time.time())
                write_json(claim, {"jobid": jobid})
                made = self._try_make(keyed, jobid)
                if made is not None:
                    return made

    def _make(
        self,
        recipe: _Recipe,
        jobid: str,
    ) -> JobFolder:
        for _ in range(100):
            made = self._try_make(recipe, jobid)
            if made is not None:
                return made
            jobid = new_jobid(time.time())
        raise TemporaryError("no free job id was found", where=str(self.prefix), mend="try again")

    def _try_make(
        self,
        recipe: _Recipe,
        jobid: str,
    ) -> JobFolder | None:
        """Build the folder aside and put it in place; None where the id is taken."""
        aside = self._private / f"making-{jobid}-{secrets.token_hex(4)}"
        try:
            _fill(JobFolder(aside), recipe, self.backends[recipe.spec.backend])
            aside.rename(self.prefix / jobid)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
                return None
            raise
        _sync_folder(self.prefix)
        return JobFolder(self.prefix / jobid)

    def _unknown_backend(self, name: str) -> ConfigurationError:
        close = difflib.get_close_matches(name, self.backends, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return ConfigurationError(
            f"no backend is called {name!r}",
            mend=f"{hint}the configured backends are {', '.join(sorted(self.backends))}",
        )


def _fill(job: JobFolder, recipe: _Recipe, backend: BackendConfig) -> None:
    spec = recipe.spec
    job.path.mkdir(mode=0o700)
    for folder in (job.logs, job.work, job.private):
        folder.mkdir()
    for name, content in recipe.files.items():
        path = job.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.encode() if isinstance(content, str) else content)
    if spec.cb_secret is not None:
        write_atomically(job.secret, spec.cb_secret.get_secret_value().encode(), mode=0o600)
    write_atomically(job.spec, json.dumps(spec.to_stored(), indent=4).encode() + b"\n", mode=0o600)
    facts = {"backend": backend.model_dump(mode="json", exclude_defaults=True), **recipe.about}
    write_atomically(job.status, f"{time.time():.6f},0,new,{json.dumps(facts)}\n".encode())


def _delete(folder: Path) -> None:
    """Delete a folder, also one that Python cannot: nested very deeply, or closed to writing."""
    for command in (["rm", "-rf"], ["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
        words = [*command, "--", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if not folder.exists():
            return
    raise OutputError(
        f"the folder of a removed job cannot be deleted: {done.stderr.strip()[:500]}",
        where=str(folder),
        mend="end what uses it; it goes when another job is removed, or delete it by hand",
    )


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def safe_path(name: str) -> PurePosixPath:
    """A path below a work folder.

    Raises:
        BadInputError: it leads out of it.
    """
    path = PurePosixPath(name)
    is_safe = name and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    if not is_safe or not path.parts:
        raise BadInputError(
            f"{name!r} is not a path inside the work folder",
            mend="give a relative path without '..'",
        )
    return path


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
