"""Events of LCLS-II, read by psana 2.

A run with smalldata is read by psana's own division of labour, where mpirun started several
ranks: rank 0 reads the smalldata, the next one (``PS_EB_NODES`` of them) builds batches, and all
others get events; so N ranks with events need N + 2. Single files have no smalldata: every rank
opens them and takes its own share.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lclstreamer.core.errors import (
    BadInputError,
    ConfigurationError,
    MissingDependencyError,
    UnavailableError,
)
from lclstreamer.core.events import Event
from lclstreamer.data_sources.base import RunFacts, Shot
from lclstreamer.event_sources.base import SourceSetup
from lclstreamer.mpi import leave_launcher
from lclstreamer.parameters.data_sources import PsanaDetectorModel
from lclstreamer.parameters.event_sources import Psana2EventSourceParameters
from lclstreamer.parameters.psana_identifier import PsanaIdentifier, read_psana_identifier

CALIBRATED_FIELDS = {"calib", "image", "photons", "fex"}
"""Fields that need calibration constants, by the last part of their name."""

FAST_FEEDBACK_FOLDER = "/sdf/data/lcls/drpsrcf/ffb"


class Psana2EventSource:
    """Reads with the real psana."""

    def __init__(self, parameters: Psana2EventSourceParameters, setup: SourceSetup) -> None:
        self._parameters, self._setup = parameters, setup
        self._identifier, mistakes = read_psana_identifier(setup.source_identifier)
        if mistakes:
            raise ConfigurationError(
                f"source_identifier: {'; '.join(mistakes)}", mend="write it like exp=…,run=…"
            )
        self._limit = min(filter(None, (setup.limit, self._identifier.max_events)), default=0)
        self._has_ended_early = False
        self._is_parallel = setup.context.communicator is not None
        self._check_ranks()
        self._check_files()
        self._set_environment()
        self._data_source = self._open()
        self.run = setup.source_identifier
        self.produces_events = bool(self._data_source.is_bd())

    @staticmethod
    def needs_communicator(_parameters: Psana2EventSourceParameters, identifier: str) -> bool:
        """A run with smalldata is dealt by psana; single files are shared by counting."""
        return read_psana_identifier(identifier)[0].experiment is not None

    @staticmethod
    def why_unavailable() -> str | None:
        """Needs psana 2."""
        return "psana is not installed (extra 'psana2')" if find_spec("psana") is None else None

    def _check_ranks(self) -> None:
        builders = int(os.environ.get("PS_EB_NODES", "1"))
        if self._is_parallel and self._setup.context.size < builders + 2:
            raise ConfigurationError(
                f"psana 2 cannot read a run with {self._setup.context.size} ranks",
                mend=f"start it with 1 rank, or with at least {builders + 2}: one reads the "
                f"smalldata, {builders} build(s) events, the others get them",
            )

    def _check_files(self) -> None:
        missing = [name for name in self._identifier.files if not Path(name).is_file()]
        folder = self._identifier.directory
        if folder is not None and not Path(folder).is_dir():
            missing.append(folder)
        if missing:
            raise BadInputError(
                f"there is no {' and no '.join(missing)}",
                where=self._setup.source_identifier,
                mend="correct files= or dir= in source_identifier, or mount the file system",
            )

    def _set_environment(self) -> None:
        """Everything psana reads from the environment, before it is imported."""
        if not self._is_parallel:
            os.environ["PS_PARALLEL"] = "none"
            leave_launcher()
        if self._identifier.is_fast_feedback:
            os.environ["SIT_PSDM_DATA"] = FAST_FEEDBACK_FOLDER
        if self._identifier.is_live:
            os.environ["PS_R_MAX_RETRIES"] = str(self._parameters.live_timeout_seconds)
        # The smalldata reader hands on chunks of this many events: two batches for each rank.
        chunk = 2 * self._parameters.batch_size * max(1, self._setup.context.size - 2)
        os.environ.setdefault("PS_SMD_N_EVENTS", str(max(20, chunk)))

    def _open(self) -> Any:
        try:
            from psana import DataSource
        except (ImportError, RuntimeError) as error:  # RuntimeError: there is no MPI library
            raise MissingDependencyError(
                f"psana 2 cannot be imported: {error}",
                mend="install the extra 'psana2' (CPython 3.11) or load the facility's psana2",
            ) from error
        self._choose_file_list()
        try:
            return DataSource(**self._arguments())
        except (SystemExit, AssertionError, KeyError, ValueError, RuntimeError) as error:
            raise self._not_readable(error) from error
        except OSError as error:
            raise self._unreachable(error) from error

    def _arguments(self) -> dict[str, Any]:
        identifier: PsanaIdentifier = self._identifier
        arguments: dict[str, Any] = {
            "exp": identifier.experiment,
            "run": identifier.run_number,
            "dir": identifier.directory,
            "files": list(identifier.files),
            "drp": identifier.drp,
            "live": identifier.is_live,
            "max_events": self._limit,
            "skip_calib_load": None if self._wants_constants() else "all",
        }
        given = {name: value for name, value in arguments.items() if value}
        return {**given, "batch_size": self._parameters.batch_size, "log_level": "WARNING"}

    def _wants_constants(self) -> bool:
        if self._parameters.calibration_constants != "auto":
            return self._parameters.calibration_constants == "load"
        fields = {
            field.rpartition(".")[2]
            for source in self._setup.extractor.parameters.values()
            if isinstance(source, PsanaDetectorModel)
            for field in source.psana_fields or ()
        }
        return bool(fields & CALIBRATED_FIELDS)

    def _choose_file_list(self) -> None:
        """Tell psana whom to ask for the run's files; by itself it asks SLAC's logbook, always."""
        from psana.psexp import ds_base

        hooks: Any = ds_base.DataSourceBase
        base, choice = self._parameters.logbook_url, self._parameters.file_list
        if choice == "auto":
            has_folder = self._identifier.directory is not None and not self._identifier.is_live
            choice = "disk" if has_folder and base is None else "logbook"
        if choice == "disk":
            hooks._get_file_info_from_db = _no_file_info  # noqa: SLF001  (no other way)
        elif base is not None:
            address = f"{base.rstrip('/')}/lgbk/{self._identifier.experiment}/ws"
            hooks._file_info_url = _asking(address)  # noqa: SLF001

    def _not_readable(self, error: BaseException) -> BadInputError:
        return BadInputError(
            f"psana cannot open it: {error or type(error).__name__}",
            where=self._setup.source_identifier,
            mend="check experiment, run and dir= (its smalldata folder must hold the run)",
        )

    def _unreachable(self, error: OSError) -> UnavailableError:
        return UnavailableError(
            f"psana cannot reach what it needs: {error}",
            where=self._setup.source_identifier,
            mend="without a network set event_source.file_list to disk and "
            "event_source.calibration_constants to skip (or LCLS_CALIB_HTTP to a server)",
        )

    def events(self) -> Iterator[Event]:
        """This rank's share, from every run of the data source."""
        setup, counted = self._setup, 0
        for run in self._runs():
            if self.produces_events:
                setup.extractor.prepare(RunFacts(setup.source_identifier, psana_run=run))
            for shot in run.events():
                if setup.stop.is_set():
                    if not self._is_parallel:
                        return
                    self._end_early(run)
                    continue
                number, counted = counted, counted + 1
                if not self._is_parallel and self._limit and number >= self._limit:
                    return
                if self._is_parallel or number % setup.context.size == setup.context.rank:
                    yield setup.extractor.extract(Shot(shot.timestamp, shot))

    def _end_early(self, run: Any) -> None:
        """Tell psana, once, to hand out no more; its ranks then come to their end together."""
        if not self._has_ended_early:
            self._has_ended_early = True
            run.terminate()

    def _runs(self) -> Iterator[Any]:
        runs = self._data_source.runs()
        while True:
            try:
                yield next(runs)
            except StopIteration:
                return
            except (RuntimeError, AssertionError, KeyError, ValueError) as error:
                raise self._not_readable(error) from error
            except OSError as error:
                raise self._unreachable(error) from error


def _no_file_info(_data_source: Any, _run: int) -> dict[str, Any]:
    return {}


def _asking(address: str) -> Callable[[Any, int], str]:
    return lambda _data_source, run: f"{address}/{run}/current_files_for_live_mode"
