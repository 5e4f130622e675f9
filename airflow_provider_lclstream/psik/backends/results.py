"""Results that come from a service: written into the job folder and nowhere else."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from lclstreamer.core.errors import BadInputError


def write_below(folder: Path, name: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Like extraction with the filter ``data``, which Python 3.11 has from 3.11.4 on only.

    Raises:
        BadInputError: the file would lie outside of the folder.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BadInputError(
            f"the service sent a file that would lie outside of the job: {member.name!r}",
            mend="do not use that service; it or somebody in between is not what it should be",
        )
    content = tar.extractfile(member)
    if content is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as stream:
        shutil.copyfileobj(content, stream)
    path.chmod(member.mode & 0o755 | 0o600)
