"""Events replayed from HDF5 files."""

from __future__ import annotations

import glob
import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lclstreamer.core.errors import BadInputError, ConfigurationError, MissingDependencyError
from lclstreamer.core.events import Event
from lclstreamer.data_sources.base import RunFacts, Shot
from lclstreamer.data_sources.hdf5 import Row
from lclstreamer.event_sources.base import Pace, SourceSetup
from lclstreamer.parameters.data_sources import Hdf5DatasetParameters
from lclstreamer.parameters.event_sources import Hdf5EventSourceParameters
from lclstreamer.parameters.serializers import EVENT_IDS_PATH


class Hdf5EventSource:
    """Reads files row by row; each rank has a block of consecutive events."""

    produces_events = True

    def __init__(self, parameters: Hdf5EventSourceParameters, setup: SourceSetup) -> None:
        self._parameters, self._setup = parameters, setup
        self._files = find_files(setup.source_identifier)
        self._paths = [
            source.path
            for source in setup.extractor.parameters.values()
            if isinstance(source, Hdf5DatasetParameters) and source.per_event
        ]
        self._counts = [self._count_events(path) for path in self._files]
        self.run = setup.source_identifier
        setup.extractor.prepare(RunFacts(setup.source_identifier, replays_hdf5=True))

    @staticmethod
    def needs_communicator(_parameters: Hdf5EventSourceParameters, _identifier: str) -> bool:
        """The ranks know their shares without talking."""
        return False

    @staticmethod
    def why_unavailable() -> str | None:
        """Needs h5py."""
        missing = [name for name in ("h5py", "hdf5plugin") if find_spec(name) is None]
        return f"{missing[0]} is not installed (extra 'streamer')" if missing else None

    def _count_events(self, path: Path) -> int:
        with _open(path) as file:
            ids_path = self._ids_path(file)
            names = [*self._paths, *([ids_path] if ids_path else [])]
            missing = [name for name in names if name not in file]
            if self._parameters.event_id_dataset in missing or (names and missing == names):
                raise ConfigurationError(
                    f"{path} has no dataset {missing[0]}: it has {_listing(file)}",
                    mend="correct the paths of the data sources and event_id_dataset",
                )
            if not names:
                raise ConfigurationError(
                    "nothing says how many events the files have",
                    mend="add a data source of type Hdf5Dataset, or event_id_dataset",
                )
            return max(
                len(file[name]) if file[name].shape else 0 for name in set(names) - {*missing}
            )

    def _ids_path(self, file: Any) -> str | None:
        if self._parameters.event_id_dataset is not None:
            return self._parameters.event_id_dataset
        return EVENT_IDS_PATH if EVENT_IDS_PATH in file else None

    def events(self) -> Iterator[Event]:
        """This rank's share."""
        setup = self._setup
        pace = Pace(self._parameters.events_per_second, setup.stop)
        for number, event in enumerate(self._share()):
            pace.wait_for(number * setup.context.size)
            if setup.stop.is_set():
                return
            yield event

    def _share(self) -> Iterator[Event]:
        total = sum(self._counts)
        limit = self._setup.limit
        mine = self._setup.context.block(total if limit is None else min(total, limit))
        before = 0
        for path, count in zip(self._files, self._counts, strict=True):
            first, end = max(mine.start, before), min(mine.stop, before + count)
            if first < end:
                yield from self._read(path, range(first - before, end - before), before)
            before += count

    def _read(self, path: Path, rows: range, before: int) -> Iterator[Event]:
        with _open(path) as file:
            ids_path = self._ids_path(file)
            ids = None if ids_path is None else file[ids_path][rows.start : rows.stop]
            if ids is not None and ids.dtype.kind not in "iu":
                raise BadInputError(
                    f"{ids_path} in {path} holds {ids.dtype}, which cannot identify events exactly",
                    mend="name a dataset of integers as event_id_dataset",
                )
            for row in rows:
                event_id = before + row if ids is None else int(ids[row - rows.start])
                yield self._setup.extractor.extract(Shot(event_id, Row(file, row, rows.stop)))


def find_files(source_identifier: str) -> list[Path]:
    """List the files that an identifier names, in its order; what a pattern finds is sorted.

    Raises:
        BadInputError: a name or pattern finds nothing.
    """
    files: list[Path] = []
    for part in filter(None, (part.strip() for part in source_identifier.split(","))):
        found = sorted(glob.glob(part, recursive=True))  # noqa: PTH207  (Path.glob: relative only)
        if not found:
            raise BadInputError(
                f"no file is called {part}",
                mend="name existing HDF5 files in source_identifier, with commas between them",
            )
        files += map(Path, found)
    return files


def _open(path: Path) -> Any:
    try:
        import h5py

        importlib.import_module("hdf5plugin")  # registers the filters of compressed data
    except ImportError as error:
        raise MissingDependencyError(
            f"HDF5 files cannot be read: {error}", mend="install the extra 'streamer'"
        ) from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read as HDF5: {error}", mend="name a complete HDF5 file"
        ) from error


def _listing(file: Any, limit: int = 10) -> str:
    names: list[str] = []

    def collect(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            names.append(f"/{name}")

    file.visititems(collect)
    return ", ".join(names[:limit]) + (" …" if len(names) > limit else "")
