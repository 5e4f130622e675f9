"""A batch as a numpy ``.npz`` archive, and back. Needs nothing but numpy on the other side.

Beside the arrays it holds ``event_id`` (uint64) and ``lclstreamer``, a JSON text with format
version, run, rank, sequence and the data source of each array.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from lclstreamer.core.errors import BadInputError
from lclstreamer.core.events import Batch, Message
from lclstreamer.parameters.serializers import RESERVED_NAMES, NumpyBinarySerializerParameters
from lclstreamer.serializers.base import (
    FORMAT_VERSION,
    check_format_version,
    message_of,
    select_fields,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

EVENT_IDS_NAME, ABOUT_NAME = RESERVED_NAMES

DEFLATE_LEVEL = 1
"""The fastest: higher levels cost several times as long for a few percent."""


class NumpyBinarySerializer:
    """Writes each batch as an npz archive in memory."""

    def __init__(self, parameters: NumpyBinarySerializerParameters) -> None:
        self._fields = parameters.fields
        self._method = zipfile.ZIP_DEFLATED if parameters.use_compression else zipfile.ZIP_STORED

    def serialize(self, batch: Batch) -> Message:
        """Make one archive of a batch.

        Raises:
            BadInputError: an array holds Python objects.
        """
        selected = list(select_fields(batch, self._fields))
        about = {
            "format_version": FORMAT_VERSION,
            "run": batch.run,
            "rank": batch.rank,
            "sequence": batch.sequence,
            "data_sources": {name: source for source, name, _ in selected},
        }
        image = io.BytesIO()
        # numpy.savez would take names such as "file" for arguments of its own.
        with zipfile.ZipFile(image, "w", self._method, compresslevel=DEFLATE_LEVEL) as archive:
            _write(archive, ABOUT_NAME, np.array(json.dumps(about)))
            _write(archive, EVENT_IDS_NAME, batch.event_ids)
            for _, name, array in selected:
                _write(archive, name, array)
        return message_of(batch, image.getvalue())


def _write(archive: zipfile.ZipFile, name: str, array: Array) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        try:
            np.lib.format.write_array(file, array, allow_pickle=False)
        except ValueError as error:
            raise BadInputError(
                f"an npz archive cannot hold {name!r}: {error}",
                mend="give the data source a numeric dtype, or leave it out of 'fields'",
            ) from error


def read_npz(payload: bytes | bytearray | memoryview) -> Batch:
    """Read an npz message; the arrays are named as the data sources were.

    Raises:
        BadInputError: the bytes are no npz message of this project.
    """
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
            about = json.loads(str(archive[ABOUT_NAME]))
            check_format_version(about["format_version"])
            return Batch(
                data={source: archive[name] for name, source in about["data_sources"].items()},
                event_ids=archive[EVENT_IDS_NAME],
                run=about["run"],
                rank=about["rank"],
                sequence=about["sequence"],
            )
    except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInputError(
            f"this is no complete npz message of lclstreamer: {error}",
            mend="open it with numpy.load if another program wrote it; else it was damaged on its "
            "way",
        ) from error
