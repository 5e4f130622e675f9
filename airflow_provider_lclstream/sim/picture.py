"""What arrived, as a picture: the virtual powder pattern and how many Bragg peaks each shot has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_lclstream.sim.simulated_shots import PEAK_LEVEL, PEAKS_OF_A_HIT
from lclstreamer.core.errors import MissingDependencyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HIT_LEVEL = PEAKS_OF_A_HIT[0] // 2
"""A shot with at least so many peaks is a hit."""
INK, PAPER, QUIET, ACCENT = "#e8e6e3", "#101418", "#7a828c", "#ffb454"


@dataclass
class RunView:
    """What is accumulated over the shots of a run, one message after the other."""

    sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """``powder``: the brightest value that each pixel had in any hit; ``all``: the sum."""
    peaks: list[int] = field(default_factory=list)
    """Bragg peaks of each shot."""

    def add(self, images: NDArray[Any]) -> None:
        """Take the images of one message, shape (shots, rows, columns)."""
        import numpy as np

        for image in images:
            found = count_peaks(image)
            self.peaks.append(found)
            if not self.sums:
                self.sums = {"all": np.zeros(image.shape), "powder": np.zeros(image.shape)}
            self.sums["all"] += image
            if found >= HIT_LEVEL:
                self.sums["powder"] = np.maximum(self.sums["powder"], image)

    @property
    def hits(self) -> int:
        """Shots with a crystal in them."""
        return sum(found >= HIT_LEVEL for found in self.peaks)


def count_peaks(image: NDArray[Any]) -> int:
    """Pixels that are above `PEAK_LEVEL` and brighter than their eight neighbours.

    Pixels at the detector's edge, which have fewer neighbours, are left out.
    """
    import numpy as np

    rows, columns = np.nonzero(image[1:-1, 1:-1] > PEAK_LEVEL)
    rows, columns = rows + 1, columns + 1
    is_peak = np.ones(len(rows), dtype=bool)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            if down or right:
                is_peak &= image[rows, columns] > image[rows + down, columns + right]
    return int(is_peak.sum())


def draw(view: RunView, path: Path, *, title: str, facts: Sequence[str]) -> None:
    """Write the picture as PNG.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "the Python package matplotlib is not installed, so there is no picture",
            mend="pip install 'airflow-provider-lclstream[demo]'",
        ) from error
    figure = Figure(figsize=(13, 5.2), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(1, 2, width_ratios=(2.1, 1))
    left, right = parts
    for part in (left, right):
        part.set_facecolor(PAPER)
    _draw_powder(left, view)
    _draw_peaks(right, view, facts)
    figure.suptitle(title, color=INK, fontsize=15, x=0.012, ha="left", weight="bold")
    figure.savefig(path, dpi=110, facecolor=PAPER)


def _draw_powder(part: Any, view: RunView) -> None:
    import numpy as np
    from matplotlib.colors import PowerNorm

    axes = part.subplots()
    has_hits = view.hits > 0
    picture = view.sums.get("powder" if has_hits else "all", np.zeros((2, 2)))
    for axis in (0, 1):  # a peak of a few pixels would hardly be seen
        picture = np.maximum(picture, np.roll(picture, 1, axis))
    limit = float(np.percentile(picture, 99.9)) or 1.0
    axes.imshow(picture, cmap="inferno", norm=PowerNorm(0.45, 0, limit), interpolation="nearest")
    name = "virtual powder: brightest value in any hit" if has_hits else "sum of all shots"
    axes.set_title(name, color=QUIET, fontsize=10, loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_peaks(part: Any, view: RunView, facts: Sequence[str]) -> None:
    histogram, words = part.subplots(2, 1, height_ratios=(1.5, 1))
    histogram.set_facecolor(PAPER)
    top = max([*view.peaks, PEAKS_OF_A_HIT[1]])
    bins = range(0, top + 6, 5)
    histogram.hist(
        [found for found in view.peaks if found < HIT_LEVEL], bins, color=QUIET, label="miss"
    )
    histogram.hist(
        [found for found in view.peaks if found >= HIT_LEVEL], bins, color=ACCENT, label="hit"
    )
    histogram.set_yscale("symlog", linthresh=10)
    histogram.set_xlabel("Bragg peaks in a shot", color=INK)
    histogram.set_ylabel("shots", color=INK)
    rate = view.hits / max(1, len(view.peaks))
    histogram.set_title(
        f"{view.hits} hits in {len(view.peaks)} shots, {rate:.0%}", color=INK, loc="left"
    )
    histogram.tick_params(colors=QUIET)
    for side in ("top", "right"):
        histogram.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        histogram.spines[side].set_color(QUIET)
    histogram.legend(frameon=False, labelcolor=INK)
    words.axis("off")
    words.text(
        0, 1, "\n".join(facts), color=INK, fontsize=10.5, va="top", linespacing=1.7,
        transform=words.transAxes,
    )  # fmt: skip
