"""Simulated runs are real files: psana and h5py read from them what was put in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_lclstream.sim.simulated_run import streamer_template, write_run
from airflow_provider_lclstream.sim.simulated_shots import simulate_shots
from lclstreamer.core.errors import OutputError

READ_WITH_PSANA = """
import sys
from psana.psexp.ds_base import DataSourceBase
DataSourceBase._get_file_info_from_db = lambda self, run: {}
from psana import DataSource
source = DataSource(exp="mfxx00126", run=17, dir=sys.argv[1], skip_calib_load="all")
run = next(source.runs())
jungfrau, gmd = run.Detector("jungfrau"), run.Detector("gmd")
for event in run.events():
    print(event.timestamp, int(jungfrau.raw.raw(event).sum()), gmd.raw.millijoulesperpulse(event))
"""


@pytest.mark.psana
def test_psana_reads_what_was_written(tmp_path, processes):
    written = processes.run(
        ["lclstream", "sim", "run", tmp_path, "--number", "17", "--events", "7", "--json"]
    )
    assert written.process.returncode == 0, written.stderr
    run = json.loads(written.stdout)
    assert [Path(name).suffix for name in run["files"]] == [".xtc2", ".xtc2"]
    ended = subprocess.run(
        [sys.executable, "-c", READ_WITH_PSANA, tmp_path], capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    rows = [line.split() for line in ended.stdout.splitlines() if line[:1].isdigit()]
    shots = list(simulate_shots(7, seed=17))
    assert [int(row[0]) for row in rows] == run["event_ids"]
    assert [int(row[1]) for row in rows] == [int(shot.image.sum()) for shot in shots]
    assert [float(row[2]) for row in rows] == [shot.pulse_energy_mj for shot in shots]
    assert run["event_ids"] == sorted(set(run["event_ids"]))
    assert run["hits"] == sum(shot.is_hit for shot in shots)


def test_hdf5_holds_the_same_shots(tmp_path):
    import h5py

    run = write_run(tmp_path, "mfxx00126", 17, 5, form="hdf5")
    with h5py.File(run.files[0]) as file:
        images = file["data/image"][:]
    shots = list(simulate_shots(5, seed=17))
    assert [int(image.sum()) for image in images] == [int(shot.image.sum()) for shot in shots]
    assert run.event_ids == [0, 1, 2, 3, 4]
    assert run.hits == sum(shot.is_hit for shot in shots)


@pytest.mark.parametrize("form", ["xtc2", "hdf5"])
def test_the_template_is_a_streamer_configuration(form):
    from airflow_provider_lclstream.arp.rules import fill_template
    from airflow_provider_lclstream.transfer.models import TransferRequest

    template = streamer_template("/data/{experiment}", form, batch_size=5)
    facts = {"experiment": "mfxx00126", "run_number": 3}
    request = TransferRequest.model_validate({**facts, "streamer": fill_template(template, facts)})
    assert "mfxx00126" in request.streamer.source_identifier


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_run(tmp_path / "file" / "below", "mfxx00126", 1, 1, form="hdf5")
