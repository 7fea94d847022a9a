"""What the few real contrasts would be if the real tomogram were one of the simulated ones.

Behind each real value stand n picks of one run, each at its own distance from the slice. A draw takes one simulated run
and n of its particles, cuts each at the distance of its real counterpart, and averages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from measures import PLANES, RADII_ANGSTROM, SLICE_SPACING_ANGSTROM, Floats, cut_slice, disc_contrasts
from numpy.typing import NDArray

from cryofind.types import Picks

DRAWS = 500
CENTRAL_SHARE = 0.90


def measure_at_offsets(
    volume_zyx: NDArray[np.generic],
    picks: Picks,
    spacing_angstrom: float,
    offsets_angstrom: Mapping[str, Floats],
    *,
    planes: int = PLANES,
) -> dict[str, Floats]:
    """Return, for every species, the contrast of each pick of one run in a slice at each offset: (picks, offsets).

    A slice beyond the volume is replaced by the one on the other side of the particle: above and below are alike.
    """
    tables: dict[str, Floats] = {}
    wanted: dict[int, list[tuple[str, int, int]]] = {}
    for name, offsets in offsets_angstrom.items():
        heights = picks.of_object(name).positions_zyx_angstrom[:, 0]
        tables[name] = np.full((len(heights), len(offsets)), np.nan)
        for (row, column), plane in np.ndenumerate(
            _nearest_planes(heights, offsets, spacing_angstrom, len(volume_zyx))
        ):
            wanted.setdefault(int(plane), []).append((name, row, column))
    places = {name: picks.of_object(name).positions_zyx_angstrom[:, 1:] for name in offsets_angstrom}
    for index, cells in wanted.items():
        one = cut_slice(volume_zyx, spacing_angstrom, index, planes)
        for name in {name for name, _, _ in cells}:
            rows, columns = np.array([(row, column) for other, row, column in cells if other == name]).T
            tables[name][rows, columns] = disc_contrasts(
                one, places[name][rows], RADII_ANGSTROM[name], SLICE_SPACING_ANGSTROM
            )
    return tables


def _nearest_planes(heights: Floats, offsets: Floats, spacing_angstrom: float, depth: int) -> NDArray[np.int64]:
    planes = np.rint((heights[:, None] + offsets) / spacing_angstrom).astype(np.int64)
    mirrored = np.rint((heights[:, None] - offsets) / spacing_angstrom).astype(np.int64)
    beyond = (planes < 0) | (planes >= depth)
    return np.asarray(np.clip(np.where(beyond, mirrored, planes), 0, depth - 1))


@dataclass(frozen=True)
class ContrastResult:
    """The real contrast of a species among simulated draws.

    `share_below` is the share of draws darker than the real value; `low` and `high` bound the central 90 %.
    """

    name: str
    real: float
    count: int
    median: float
    low: float
    high: float
    share_below: float
    simulated_picks: int
    simulated_runs: int

    @property
    def is_within(self) -> bool:
        """Whether the real value lies in the central 90 % of the draws."""
        return self.low <= self.real <= self.high


def compare_contrasts(
    name: str, real: Floats, tables: Sequence[Floats], random: np.random.Generator, *, draws: int = DRAWS
) -> ContrastResult | None:
    """Return where the mean of the real contrasts lies among draws from the runs' tables; None without particles."""
    usable = [table for table in tables if len(table)]
    if not usable:
        return None
    means = np.array([_draw_mean(usable[random.integers(len(usable))], random) for _ in range(draws)])
    tail = (1 - CENTRAL_SHARE) / 2
    low, median, high = (float(value) for value in np.quantile(means, [tail, 0.5, 1 - tail]))
    value = float(real.mean())
    picks = sum(len(table) for table in usable)
    return ContrastResult(name, value, len(real), median, low, high, float(np.mean(means < value)), picks, len(usable))


def _draw_mean(table: Floats, random: np.random.Generator) -> float:
    """Return the mean over one particle for each offset, all different where the run has enough."""
    particles, offsets = table.shape
    rows = random.choice(particles, offsets, replace=particles < offsets)
    return float(table[rows, np.arange(offsets)].mean())
