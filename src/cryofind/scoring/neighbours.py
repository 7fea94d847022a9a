"""Neighbours among points of many runs at once: a fourth coordinate keeps the runs apart."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cryofind.types import Picks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RunSpace:
    """Positions of several tables such that points of one run only are near each other.

    Parameters
    ----------
    codes
        Number of every run.
    gap_angstrom
        Distance between runs along the fourth coordinate; larger than any distance or reach within one.
    """

    codes: dict[str, int]
    gap_angstrom: float

    @classmethod
    def around(cls, *tables: Picks, reach_angstrom: float) -> "RunSpace":
        """Return the space of all points of the tables, for neighbours up to `reach_angstrom` away."""
        names = {name for table in tables for name in table.runs.tolist()}
        positions = np.concatenate([np.zeros((1, 3)), *(table.positions_zyx_angstrom for table in tables)])
        # Also beyond rounding: the fourth coordinates of one run are equal, so they add exactly 0 to a distance.
        gap = 2 * float(np.linalg.norm(np.ptp(positions, axis=0))) + 2 * reach_angstrom + 1.0
        return cls({name: code for code, name in enumerate(sorted(names))}, gap)

    def place(self, table: Picks) -> Floats:
        """Return the points of a table, shape (N, 4)."""
        runs = np.array([self.codes[name] for name in table.runs.tolist()], dtype=np.float64)
        return np.column_stack([table.positions_zyx_angstrom, runs * self.gap_angstrom])


def find_nearest(space: RunSpace, table: Picks, others: Picks) -> tuple[Ints, Floats]:
    """Return for every row of `table` the nearest row of `others` in its run (-1: none) and the distance (or inf)."""
    if not len(table) or not len(others):
        return np.full(len(table), -1, np.int64), np.full(len(table), np.inf)
    bound = 0.9 * space.gap_angstrom
    distances, rows = KDTree(space.place(others)).query(space.place(table), distance_upper_bound=bound)
    return np.where(np.isfinite(distances), rows, -1).astype(np.int64), np.asarray(distances, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of candidates and of true particles, pair by pair, and their distances in Angstrom."""

    candidates: Ints
    truths: Ints
    distances: Floats

    def where(self, keep: NDArray[np.bool_] | Ints) -> "Pairs":
        """Return the pairs that a mask keeps, or that an index array names, in its order."""
        return Pairs(self.candidates[keep], self.truths[keep], self.distances[keep])


def find_pairs(space: RunSpace, candidates: Picks, truth: Picks, reach_angstrom: float) -> Pairs:
    """Return all pairs of one run at most `reach_angstrom` apart, whatever their objects."""
    if not len(candidates) or not len(truth):
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    first, second = KDTree(space.place(candidates)), KDTree(space.place(truth))
    pairs = first.sparse_distance_matrix(second, reach_angstrom, output_type="ndarray")
    return Pairs(pairs["i"].astype(np.int64), pairs["j"].astype(np.int64), pairs["v"])


def count_within(space: RunSpace, table: Picks, reaches_angstrom: Floats) -> Ints:
    """Return for every row of a table how many other rows of its run lie at most its reach, shape (N,), away."""
    if not len(table):
        return np.zeros(0, np.int64)
    points = space.place(table)
    counts = KDTree(points).query_ball_point(points, reaches_angstrom, return_length=True)
    return np.asarray(counts, dtype=np.int64) - 1
