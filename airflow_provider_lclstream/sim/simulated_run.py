"""A run as the data-taking system leaves it on disk: real xtc2 files where psana is installed.

The xtc2 files are written through psana's own wheel, one stream with the detector and one with the
pulse energy, and their small data by psana's ``smdwriter``. Where psana is not installed the same
shots go into one HDF5 file.
"""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from airflow_provider_lclstream.sim.simulated_shots import SHAPE, Shot, simulate_shots
from lclstreamer.core.errors import MissingDependencyError, OutputError

Format = Literal["xtc2", "hdf5"]
SHOTS_PER_SECOND = 120
FIRST_SECOND = 1_000_000_000
SMDWRITER_TIMEOUT_SECONDS = 120.0

# Numbers of the transitions in an xtc2 file.
_CONFIGURE, _BEGIN_RUN, _END_RUN, _BEGIN_STEP, _END_STEP = 2, 4, 5, 6, 7
_ENABLE, _DISABLE, _SLOW_UPDATE, _SHOT = 8, 9, 10, 12


@dataclass
class SimulatedRun:
    """What was written.

    Attributes:
        event_ids: the shots' ids, in order: psana's timestamps, or numbers from 0 in HDF5.
        files: data files, without small data.
        hits: shots with a crystal in them.
    """

    experiment: str
    run_number: int
    folder: Path
    format: Format
    event_ids: list[int] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    hits: int = 0


def preferred_format() -> Format:
    """``xtc2`` where psana can write and read it, else ``hdf5``."""
    return "xtc2" if importlib.util.find_spec("psana") else "hdf5"


def write_run(
    folder: Path,
    experiment: str,
    run_number: int,
    events: int,
    *,
    form: Format | None = None,
    seed: int | None = None,
) -> SimulatedRun:
    """Write a run of ``events`` shots into a folder (made if missing).

    Raises:
        MissingDependencyError: psana, h5py or numpy is needed and not installed.
        OutputError: the folder cannot be written.
    """
    form = form or preferred_format()
    run = SimulatedRun(experiment, run_number, folder, form)
    shots = simulate_shots(events, seed=run_number if seed is None else seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write = _write_xtc2 if form == "xtc2" else _write_hdf5
        write(run, shots)
    except ImportError as error:
        raise MissingDependencyError(
            f"the Python package {error.name!r} is needed to write a simulated run",
            mend="pip install 'airflow-provider-lclstream[demo]', and [psana2] for xtc2",
        ) from error
    except OSError as error:
        raise OutputError(
            f"the simulated run cannot be written: {error.strerror or error}",
            where=str(folder),
            mend="choose a folder with room for 1 MiB per event",
        ) from error
    return run


def streamer_template(folder: str, form: Format, *, batch_size: int) -> dict[str, Any]:
    """The streamer's part of a rule that reads such runs.

    ``folder`` may hold placeholders of rules, e.g. ``/data/{experiment}``.
    """
    data_sources, event_source, identifier = {
        "xtc2": (
            {
                "image": {
                    "type": "Psana2DetectorInterface",
                    "psana_name": "jungfrau",
                    "psana_fields": "raw.raw",
                    "dtype": "uint16",
                },
                "pulse_energy": {
                    "type": "Psana2DetectorInterface",
                    "psana_name": "gmd",
                    "psana_fields": "raw.millijoulesperpulse",
                },
            },
            {"type": "Psana2EventSource", "batch_size": batch_size, "file_list": "disk"},
            f"exp={{experiment}},run={{run_number}},dir={folder}",
        ),
        "hdf5": (
            {
                "image": {"type": "Hdf5Dataset", "path": "/data/image"},
                "pulse_energy": {"type": "Hdf5Dataset", "path": "/data/pulse_energy"},
            },
            {"type": "Hdf5EventSource"},
            f"{folder}/{{experiment}}-r{{run_number:04d}}.h5",
        ),
    }[form]
    return {
        "source_identifier": identifier,
        "skip_incomplete_events": True,
        "event_source": event_source,
        "data_sources": data_sources,
        "processing_pipeline": {"type": "BatchProcessingPipeline", "batch_size": batch_size},
        "data_serializer": {
            "type": "Hdf5Serializer",
            "fields": {"image": "/data/image", "pulse_energy": "/data/pulse_energy"},
        },
    }


def _write_xtc2(run: SimulatedRun, shots: Iterable[Shot]) -> None:
    writer = _Xtc2Writer(run)
    try:
        writer.begin()
        for shot in shots:
            run.event_ids.append(writer.write(shot))
            run.hits += shot.is_hit
        writer.end()
    finally:
        writer.close()
    writer.write_small_data()


class _Xtc2Writer:
    """Two streams, as two readout nodes would write them: pulse energy, detector."""

    def __init__(self, run: SimulatedRun) -> None:
        dgrams = import_module("psana.dgramCreate")

        self._run, self._tick = run, 0
        self._datagrams = [dgrams.CyDgram(), dgrams.CyDgram()]
        stems = [f"{run.experiment}-r{run.run_number:04d}-s{s:03d}-c000" for s in (0, 1)]
        run.files = [run.folder / f"{stem}.xtc2" for stem in stems]
        self._files = [path.open("wb") for path in run.files]
        # psana picks its reader by type and version: these are ones it knows.
        self._energy = (dgrams.nameinfo("gmd", "gmd", "gmdid", 1), dgrams.alg("raw", [2, 1, 0]))
        self._image = (
            dgrams.nameinfo("jungfrau", "jungfrau", "simulated_0", 10),
            dgrams.alg("raw", [0, 2, 0]),
        )
        self._info = (
            dgrams.nameinfo("runinfo", "runinfo", "", 255),
            dgrams.alg("runinfo", [0, 0, 1]),
        )

    def begin(self) -> None:
        """The transitions that open a run; the first tells the names and shapes of everything."""
        import numpy as np

        info = [(*self._info, {"expt": self._run.experiment, "runnum": self._run.run_number}, 0)]
        energy = [(*self._energy, {"millijoulesperpulse": np.float64(0)}, 0)]
        image = [(*self._image, {"raw": np.zeros((2, 2), np.uint16)}, 0)]
        self._put(_CONFIGURE, [*energy, *info], [*image, *info], with_names=True)
        self._put(_BEGIN_RUN, info, info)
        for transition in (_BEGIN_STEP, _ENABLE, _SLOW_UPDATE):
            self._put(transition, [], [])

    def write(self, shot: Shot) -> int:
        """One shot; returns its timestamp."""
        import numpy as np

        energy = {"millijoulesperpulse": np.float64(shot.pulse_energy_mj)}
        return self._put(
            _SHOT, [(*self._energy, energy, 0)], [(*self._image, {"raw": shot.image}, 0)]
        )

    def end(self) -> None:
        """The transitions that close a run."""
        for transition in (_DISABLE, _END_STEP, _END_RUN):
            self._put(transition, [], [])

    def close(self) -> None:
        """Close the data files."""
        for file in self._files:
            file.close()

    def write_small_data(self) -> None:
        """Index each stream for psana, with psana's own program."""
        import psana

        program = Path(psana.__file__).parent.parent / "bin" / "smdwriter"
        folder = self._run.folder / "smalldata"
        folder.mkdir(exist_ok=True)
        for path in self._run.files:
            result = subprocess.run(
                [program, "-f", path, "-o", folder / f"{path.stem}.smd.xtc2"],
                capture_output=True,
                text=True,
                timeout=SMDWRITER_TIMEOUT_SECONDS,
                check=False,
            )
            if result.returncode:
                raise OutputError(
                    f"smdwriter ended with {result.returncode}: {result.stderr.strip()[-300:]}",
                    where=str(path),
                    mend="see whether the folder is writable and the disk has room",
                )

    def _put(
        self, transition: int, first: list[Any], second: list[Any], *, with_names: bool = False
    ) -> int:
        self._tick += 1
        seconds = FIRST_SECOND + self._run.run_number * 1000 + self._tick // SHOTS_PER_SECOND
        nanoseconds = self._tick % SHOTS_PER_SECOND * (10**9 // SHOTS_PER_SECOND) + 1
        timestamp = seconds << 32 | nanoseconds
        for datagram, file, detectors in zip(
            self._datagrams, self._files, (first, second), strict=True
        ):
            for name, algorithm, data, segment in detectors:
                datagram.addDet(name, algorithm, data, segment)
            file.write(
                datagram.getSelect(
                    timestamp, transition, add_names=with_names, add_shapes_data=True
                )
            )
        return timestamp


def _write_hdf5(run: SimulatedRun, shots: Iterable[Shot]) -> None:
    import h5py
    import numpy as np

    path = run.folder / f"{run.experiment}-r{run.run_number:04d}.h5"
    with h5py.File(path, "w") as file:
        images = file.create_dataset(
            "data/image", (0, *SHAPE), np.uint16, chunks=(1, *SHAPE), maxshape=(None, *SHAPE)
        )
        energies: list[float] = []
        for number, shot in enumerate(shots):
            images.resize(number + 1, axis=0)
            images[number] = shot.image
            energies.append(shot.pulse_energy_mj)
            run.event_ids.append(number)
            run.hits += shot.is_hit
        file["data/pulse_energy"] = np.asarray(energies)
    run.files = [path]
