"""Where particles and picks lie: depth, crowding, distance to the box's faces and to membranes; the bins of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cryofind.scoring.neighbours import RunSpace, count_within
from cryofind.types import LabelVolume, ParticleSpec, Picks, VoxelGrid, find_spec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Reads a volume whose voxels other than 0 are membrane; None if it cannot be read.
ReadMembranes = Callable[[], LabelVolume | None]

# Where a particle or pick is: its object, its run, its depth, how many others are near, the box's nearest face, the
# nearest membrane; and, of a pick, its score.
RateCircumstance = Literal["object", "run", "depth", "crowding", "edge", "membrane", "score"]

CROWDING_RADII = 4.0  # others count whose centre lies within so many of the particle's own radii


@dataclass(frozen=True)
class Scale:
    """How the values of one circumstance are put into bins.

    Parameters
    ----------
    limits
        Ascending; bin k holds limits[k] <= value < limits[k + 1]. The first and the last are open.
    labels
        Words for each bin that follow "particles" or "picks".
    """

    limits: tuple[float, ...]
    labels: tuple[str, ...]

    def bin_of(self, values: Floats) -> Ints:
        """Return the bin of every value, shape (N,); -1 for one that is not known (NaN)."""
        inner = np.searchsorted(np.array(self.limits[1:-1]), values, side="right")
        return np.where(np.isnan(values), -1, inner).astype(np.int64)


_OPEN = float("inf")
_ORDINALS = ("lowest", "second", "middle", "fourth", "highest")
_TENTHS = tuple(tenth / 10 for tenth in range(1, 10))

SCALES: dict[RateCircumstance, Scale] = {
    "depth": Scale((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), tuple(f"in the {word} fifth of the box (z)" for word in _ORDINALS)),
    "crowding": Scale(
        (0.0, 1.0, 2.0, 4.0, 8.0, _OPEN),
        tuple(
            f"with {count} within {CROWDING_RADII:g} radii"
            for count in ("no other", "1 other", "2 or 3 others", "4 to 7 others", "8 or more others")
        ),
    ),
    # From the centre, in radii of the particle: below 1 it is cut off.
    "edge": Scale(
        (-_OPEN, 0.0, 1.0, 2.0, 4.0, _OPEN),
        (
            "outside of the box",
            "less than 1 radius from a face of the box",
            "1 to 2 radii from a face of the box",
            "2 to 4 radii from a face of the box",
            "4 radii or more from every face of the box",
        ),
    ),
    # From the centre to the nearest voxel of a membrane, in radii of the particle.
    "membrane": Scale(
        (0.0, 1.0, 2.0, 4.0, _OPEN),
        (
            "less than 1 radius from a membrane",
            "1 to 2 radii from a membrane",
            "2 to 4 radii from a membrane",
            "4 radii or more from every membrane",
        ),
    ),
    "score": Scale(
        (-_OPEN, *_TENTHS, _OPEN),
        (
            "scored below 0.1",
            *(f"scored {low:g} to {high:g}" for low, high in pairwise(_TENTHS)),
            "scored 0.9 or more",
        ),
    ),
}


def measure_places(
    table: Picks,
    specs: Sequence[ParticleSpec],
    grids: Mapping[str, VoxelGrid],
    membrane_angstrom: Floats,
) -> dict[RateCircumstance, Floats]:
    """Return the value of every row, shape (N,), for each circumstance of place; NaN where it is not known.

    Parameters
    ----------
    table
        Picks or particles of any number of runs: all that are counted, since they are each other's neighbours.
    specs
        Their objects, with radii.
    grids
        Grid of each run's tomogram, as far as known.
    membrane_angstrom
        Distance of every row to the nearest membrane, shape (N,); see `measure_membrane_distances`.
    """
    radius_of = {name: find_spec(specs, name).particle_radius_angstrom for name in table.object_names}
    radii = np.array([radius_of[name] for name in table.objects.tolist()])
    reaches = CROWDING_RADII * radii
    space = RunSpace.around(table, reach_angstrom=float(reaches.max(initial=0.0)))
    depths, edges = _place_in_box(table, grids)
    return {
        "depth": depths,
        "crowding": count_within(space, table, reaches).astype(np.float64),
        "edge": edges / radii,
        "membrane": membrane_angstrom / radii,
    }


def _place_in_box(table: Picks, grids: Mapping[str, VoxelGrid]) -> tuple[Floats, Floats]:
    """Return the depth, as a share of the box, and the distance to its nearest face, Angstrom (below 0: outside)."""
    names = sorted(set(table.runs.tolist()))
    unknown = (np.nan,) * 3
    origins = np.array([grids[run].origin_zyx_angstrom if run in grids else unknown for run in names])
    extents = np.array([grids[run].extent_zyx_angstrom if run in grids else unknown for run in names])
    code_of = {run: code for code, run in enumerate(names)}
    codes = np.array([code_of[run] for run in table.runs.tolist()], dtype=np.int64)
    offsets = table.positions_zyx_angstrom - origins.reshape(-1, 3)[codes]
    sizes = extents.reshape(-1, 3)[codes]
    return offsets[:, 0] / sizes[:, 0], np.minimum(offsets, sizes - offsets).min(axis=1, initial=np.inf)


def measure_membrane_distances(tables: Sequence[Picks], membranes: Mapping[str, ReadMembranes]) -> list[Floats]:
    """Return for each table the distance of every row, shape (N,), to the nearest membrane of its run, Angstrom.

    0 within a membrane, infinite in a run that has none, NaN in one of which it is not known. One run's volume is in
    memory at a time.

    Parameters
    ----------
    tables
        Picks of any number of runs.
    membranes
        By run, what reads where its membranes are.
    """
    distances = [np.full(len(table), np.nan) for table in tables]
    for run, read in membranes.items():
        rows = [np.flatnonzero(table.runs == run) for table in tables]
        volume = read() if any(len(of_table) for of_table in rows) else None
        if volume is not None:
            distance_to = _prepare_distance(volume)
            for values, table, of_table in zip(distances, tables, rows, strict=True):
                values[of_table] = distance_to(table.positions_zyx_angstrom[of_table])
    return distances


def _prepare_distance(volume: LabelVolume) -> Callable[[Floats], Floats]:
    mask, grid = volume.labels_zyx != 0, volume.grid
    surface = np.argwhere(_without_inside(mask))
    if not len(surface):
        return lambda positions: np.full(len(positions), np.inf)
    tree = KDTree(grid.positions_from_indices(surface), balanced_tree=False, compact_nodes=False)

    def measure(positions_zyx_angstrom: Floats) -> Floats:
        distances, _ = tree.query(positions_zyx_angstrom)
        voxels = grid.nearest_indices_from_positions(positions_zyx_angstrom)
        is_in_box = ((voxels >= 0) & (voxels < mask.shape)).all(axis=1)
        z, y, x = np.where(is_in_box[:, None], voxels, 0).T
        return np.where(is_in_box & mask[z, y, x], 0.0, distances)

    return measure


def _without_inside(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask without the voxels whose six neighbours all belong to it: none of those is the nearest."""
    inside = mask[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for start in (0, 2):
            shifted = tuple(
                slice(start, start + n - 2) if a == axis else slice(1, -1) for a, n in enumerate(mask.shape)
            )
            inside &= mask[shifted]
    surface = mask.copy()
    surface[1:-1, 1:-1, 1:-1] &= ~inside
    return surface
