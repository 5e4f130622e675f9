"""HTTP pieces that both dialects use: who asks, errors, bounded bodies, files with ranges."""

# ruff: noqa: TID253  (a leaf: only a service that starts imports it)
from __future__ import annotations

import errno
import json
import logging
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Annotated, Any

from fastapi import Depends, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse, Response, StreamingResponse

from airflow_provider_lclstream.psik.job import Job, JobNotFoundError
from airflow_provider_lclstream.psik.states import TransitionRefusedError
from airflow_provider_lclstream.psik_api.caller import Caller, caller_of
from airflow_provider_lclstream.psik_api.folders import (
    listing,
    opened,
    parts_of,
    read_pieces,
    store_file,
)
from airflow_provider_lclstream.psik_api.service import JobService
from lclstreamer.core.errors import (
    BadInputError,
    LCLStreamError,
    OutputError,
    UnavailableError,
)

logger = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
STATUS_OF_EXIT_CODE = {64: 400, 65: 400, 69: 503, 70: 500, 73: 507, 75: 503, 77: 403, 78: 422}
"""Exit codes of our errors → HTTP status."""
UPLOAD_PIECE_BYTES = 2**20


def service_of(request: Request) -> JobService:
    """The service behind this application."""
    return request.app.state.service


def known_caller(request: Request) -> Caller:
    """Who asks; refuses a request without an identity."""
    return caller_of(request.scope, loopback_caller=request.app.state.loopback_caller)


Service = Annotated[JobService, Depends(service_of)]
Known = Annotated[Caller, Depends(known_caller)]


async def answer_error(request: Request, error: Exception) -> Response:
    """An error of ours as ``application/problem+json`` (RFC 9457)."""
    if not isinstance(error, LCLStreamError):
        raise error
    status = STATUS_OF_EXIT_CODE.get(error.exit_code, 500)
    if isinstance(error, JobNotFoundError):
        status = 404
    elif isinstance(error, TransitionRefusedError):
        status = 409
    document = {**error.to_problem(), "status": status, "instance": request.url.path}
    return JSONResponse(document, status, media_type="application/problem+json")


async def answer_broken(request: Request, error: Exception) -> Response:
    """What goes wrong with a disk: full, or away; a job's folder that is removed meanwhile."""
    if not isinstance(error, OSError):
        raise error
    logger.warning("a request failed", extra={"problem": f"{request.url.path}: {error}"})
    problem = f"a file of this service cannot be used: {error.strerror}"
    mend = "try again; if it stays so, tell the service's site"
    kind = OutputError if error.errno in {errno.ENOSPC, errno.EDQUOT} else UnavailableError
    return await answer_error(request, kind(problem, mend=mend))


async def answer_invalid(_: Request, error: Exception) -> Response:
    """What is wrong with a request, but not what it held: that may be a secret, or no text."""
    if not isinstance(error, RequestValidationError):
        raise error
    faults = [{name: each[name] for name in ("type", "loc", "msg")} for each in error.errors()]
    return Response(json.dumps({"detail": faults}), 422, media_type="application/json")


class BodyLimit:
    """Refuses bodies that are too long before they are read; uploads have a limit of their own."""

    def __init__(self, app: Any, *, limit_bytes: int, upload_bytes: int) -> None:
        self._app, self._limit_bytes, self._upload_bytes = app, limit_bytes, upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, counting what it sends."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = "/files" in scope["path"]
        limit = self._upload_bytes if is_upload else self._limit_bytes
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            await _too_long(limit)(scope, receive, send)
            return
        received = 0

        async def counting() -> MutableMapping[str, Any]:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # A body without a declared length is cut; what is left of it parses as nothing.
            return {"type": "http.disconnect"} if received > limit else message

        await self._app(scope, counting, send)


def _too_long(limit: int) -> Response:
    error = BadInputError(f"the body is longer than {limit} bytes", mend="send less")
    return JSONResponse(
        {**error.to_problem(), "status": 413}, 413, media_type="application/problem+json"
    )


def upload(service: JobService, job: Job, files: list[UploadFile]) -> list[str]:
    """Write uploaded files into a job's work folder; gives their paths."""
    named = [(parts_of(file.filename or "", is_encoded=True), file) for file in files]
    for parts, file in named:
        pieces = iter(lambda source=file.file: source.read(UPLOAD_PIECE_BYTES), b"")
        store_file(job.folder / "work", parts, pieces, service.config.max_upload)
    return ["/".join(parts) for parts, _ in named]


def file_answer(job: Job, path: str, headers: Mapping[str, str]) -> Response:
    """A file of a job's work folder, or the part of it that the headers ask for; or a listing."""
    with opened(job.folder / "work", parts_of(path) if path else []) as handle:
        facts = os.fstat(handle)
        if stat.S_ISDIR(facts.st_mode):
            return JSONResponse(listing(handle))
        name = path.rsplit("/", 1)[-1]
        return _stream(os.dup(handle), facts, headers, name)


def _stream(
    handle: int, facts: os.stat_result, asked: Mapping[str, str], name: str
) -> StreamingResponse | Response:
    size = facts.st_size
    etag = f'"{facts.st_mtime_ns:x}-{size:x}"'
    # Whoever goes on with a part wants all of it, if the file has changed since.
    has_changed = asked.get("if-range", etag) != etag
    wanted_range = None if has_changed else asked.get("range")
    headers = {"accept-ranges": "bytes", "etag": etag}
    if name.isascii() and name.isprintable() and '"' not in name:
        headers["content-disposition"] = f'attachment; filename="{name}"'
    chosen = parse_range(wanted_range, size)
    if chosen is None:
        os.close(handle)
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{size}"})
    start, length = chosen
    headers["content-length"] = str(length)
    status = 200
    if wanted_range is not None and (start, length) != (0, size):
        headers["content-range"] = f"bytes {start}-{start + length - 1}/{size}"
        status = 206
    return _PartOfFile(handle, read_pieces(handle, start, length), status, headers)


class _PartOfFile(StreamingResponse):
    """Gives pieces of an open file, and closes it, also where the client left before the first."""

    def __init__(
        self, handle: int, pieces: Iterator[bytes], status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(pieces, status, headers, media_type="application/octet-stream")
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            os.close(self._handle)


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """Start and length that a Range header asks for; all of it where there is none we know.

    None means that the range lies outside the file.
    """
    match = re.fullmatch(r"bytes=(\d{0,19})-(\d{0,19})", text or "")
    if match is None or match[0] == "bytes=-":
        return 0, size
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = min(size, int(match[2]) + 1) if match[2] else size
    return (start, end - start) if start < end else None
