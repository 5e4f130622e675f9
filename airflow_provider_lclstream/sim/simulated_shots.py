"""Made-up shots of a serial crystallography run on a half-megapixel Jungfrau.

Every shot has the water ring and photon noise; about a third hit a crystal and have Bragg peaks,
whose rings add up to a powder pattern. The same seed gives the same shots, so that a test knows
what must come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Image = NDArray[np.uint16]

SHAPE = (512, 1024)
"""Rows and columns of the detector."""
CENTRE = (255.5, 511.5)
"""Where the beam would meet it."""
HIT_FRACTION = 0.35
PEAKS_OF_A_HIT = (25, 90)
"""Fewest and most Bragg peaks of a hit; the brightest pixel of each is above `PEAK_LEVEL`."""
PEAK_LEVEL = 1000
"""No pixel without a peak comes near it."""
POWDER_RADII = (92.0, 131.0, 178.0, 214.0, 263.0, 305.0, 352.0, 411.0, 468.0)
"""Radii of the lattice's rings, in pixels."""
_BACKGROUNDS = 8


@dataclass(frozen=True)
class Shot:
    """One shot: its number, its detector image and how many Bragg peaks were put into it."""

    number: int
    image: Image
    peaks: int
    pulse_energy_mj: float

    @property
    def is_hit(self) -> bool:
        """Whether a crystal was in the beam."""
        return self.peaks > 0


def simulate_shots(count: int, *, seed: int = 1) -> Iterator[Shot]:
    """Make ``count`` shots."""
    import numpy as np

    generator = np.random.default_rng(seed)
    mean = _background()
    backgrounds = [generator.poisson(mean).astype(np.uint16) for _ in range(_BACKGROUNDS)]
    for number in range(count):
        energy = float(np.clip(generator.normal(2.0, 0.35), 0.2, None))
        image = (backgrounds[number % _BACKGROUNDS] * (energy / 2.0)).astype(np.uint16)
        peaks = 0
        if generator.random() < HIT_FRACTION:
            peaks = _add_peaks(image, generator)
        yield Shot(number, image, peaks, energy)


def _background() -> NDArray[np.float64]:
    """The mean of a shot without a crystal: water ring, air scatter, beam stop."""
    import numpy as np

    rows, columns = np.indices(SHAPE)
    radius = np.hypot(rows - CENTRE[0], columns - CENTRE[1])
    water = 26 * np.exp(-(((radius - 238) / 62) ** 2)) + 9 * np.exp(-(((radius - 330) / 95) ** 2))
    beam_stop = 1 - np.exp(-((radius / 24) ** 4))
    return (4 + water + 30 * np.exp(-radius / 55)) * beam_stop + 0.5


def _add_peaks(image: Image, generator: np.random.Generator) -> int:
    """Put Bragg peaks on the lattice's rings; each fills nine pixels. Returns their number."""
    import numpy as np

    wanted = int(generator.integers(*PEAKS_OF_A_HIT))
    radii = generator.choice(POWDER_RADII, wanted) + generator.normal(0, 1.2, wanted)
    angles = generator.uniform(0, 2 * np.pi, wanted)
    rows = np.rint(CENTRE[0] + radii * np.sin(angles)).astype(int)
    columns = np.rint(CENTRE[1] + radii * np.cos(angles)).astype(int)
    heights = generator.integers(PEAK_LEVEL + 200, 6000, wanted)
    spot = np.array([[0.1, 0.3, 0.1], [0.3, 1.0, 0.3], [0.1, 0.3, 0.1]])
    taken = np.zeros(SHAPE, dtype=bool)
    peaks = 0
    for row, column, height in zip(rows, columns, heights, strict=True):
        inside = 3 <= row < SHAPE[0] - 3 and 3 <= column < SHAPE[1] - 3
        if not inside or taken[row - 3 : row + 4, column - 3 : column + 4].any():
            continue
        taken[row, column] = True
        image[row - 1 : row + 2, column - 1 : column + 2] += (spot * height).astype(np.uint16)
        peaks += 1
    return peaks
