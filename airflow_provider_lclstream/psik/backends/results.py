"""Results that come from a service: written into the job folder and nowhere else."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Generator, Iterable
from pathlib import Path

from airflow_provider_lclstream.psik.backends.base import Observation
from airflow_provider_lclstream.psik.models import JobState
from lclstreamer.core.errors import BadInputError, OutputError


class ResultsRefusedError(BadInputError):
    """The results of a job cannot be taken over."""

    def as_end(self, state: str) -> Observation:
        """How a job ended whose script is done, but whose results are not here."""
        said = f"it is {state} there, but {self.problem}; {self.mend}"
        return Observation(JobState.failed, said, has_run=True)


@contextlib.contextmanager
def received(
    pieces: Iterable[bytes], scratch: Path, limit_bytes: int
) -> Generator[tarfile.TarFile]:
    """A tar that is received whole before any of it is looked at.

    Args:
        pieces: its bytes, as they come.
        scratch: a folder to keep it in meanwhile.
        limit_bytes: the longest that is received.

    Raises:
        ResultsRefusedError: it is longer, or no tar.
        OutputError: the disk is full.
    """
    with _told(), tempfile.TemporaryFile(dir=scratch) as stream:
        for piece in pieces:
            if stream.tell() + len(piece) > limit_bytes:
                raise ResultsRefusedError(
                    f"its results are longer than {limit_bytes} bytes",
                    mend="raise `max_results` of the backend, then start it again",
                )
            stream.write(piece)
        stream.seek(0)
        with tarfile.open(fileobj=stream) as tar:
            yield tar


@contextlib.contextmanager
def _told() -> Generator[None]:
    try:
        yield
    except tarfile.TarError as error:
        raise ResultsRefusedError(
            f"its results are damaged: {error}", mend="start it again"
        ) from error
    except OSError as error:
        raise OutputError(
            f"the results of a job cannot be written: {error.strerror}",
            mend="free disk space under the job prefix; they are fetched again",
        ) from error


def write_below(folder: Path, name: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Like extraction with the filter ``data``, which Python 3.11 has from 3.11.4 on only.

    Raises:
        ResultsRefusedError: the file would lie outside of the folder.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ResultsRefusedError(
            f"the service sent a file that would lie outside of the job: {member.name!r}",
            mend="do not use that service: it, or something in between, cannot be trusted",
        )
    content = tar.extractfile(member)
    if content is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Put in place whole: another process may fetch the same results, and must not cut a file that
    # somebody reads by now, because the job's end is recorded.
    aside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with content, aside.open("wb") as stream:
            shutil.copyfileobj(content, stream)
        aside.chmod(member.mode & 0o755 | 0o600)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
