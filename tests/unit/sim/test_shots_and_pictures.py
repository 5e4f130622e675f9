"""What is put into simulated shots is found again, and drawn."""

from __future__ import annotations

import numpy as np

from airflow_provider_lclstream.sim.picture import HIT_LEVEL, RunView, count_peaks, draw
from airflow_provider_lclstream.sim.simulated_shots import SHAPE, simulate_shots


def test_shots_are_repeatable_and_differ():
    first, again = list(simulate_shots(6, seed=3)), list(simulate_shots(6, seed=3))
    assert all((a.image == b.image).all() for a, b in zip(first, again, strict=True))
    assert not (first[0].image == first[1].image).all()
    assert first[0].image.shape == SHAPE
    assert first[0].image.dtype == np.uint16


def test_every_peak_that_was_put_in_is_counted():
    shots = list(simulate_shots(40, seed=5))
    assert [count_peaks(shot.image) for shot in shots] == [shot.peaks for shot in shots]
    assert 4 < sum(shot.is_hit for shot in shots) < 28
    assert all(shot.peaks >= HIT_LEVEL for shot in shots if shot.is_hit)


def test_the_picture_is_a_png_of_what_was_added(tmp_path):
    shots = list(simulate_shots(20, seed=5))
    view = RunView()
    view.add(np.stack([shot.image for shot in shots[:10]]))
    view.add(np.stack([shot.image for shot in shots[10:]]))
    assert view.hits == sum(shot.is_hit for shot in shots)
    assert (view.sums["all"] == np.sum([shot.image for shot in shots], axis=0)).all()
    path = tmp_path / "picture.png"
    draw(view, path, title="a run", facts=["one", "two"])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000


def test_a_run_without_any_shot_is_drawn_too(tmp_path):
    draw(RunView(), tmp_path / "empty.png", title="nothing", facts=[])
    assert (tmp_path / "empty.png").stat().st_size > 1000
