"""What the writers of this folder share: their options and their result."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryofind.coordinates import xyz_from_zyx
from cryofind.errors import PicksError
from cryofind.io.extent import describe_extent
from cryofind.io.relion import Centre as Centre
from cryofind.io.relion import TomogramGeometry
from cryofind.types import Picks, VoxelGrid

_MAX_SIZE_DIFFERENCE_VOXELS = 2.0  # binning rounds sizes; more than this is another tomogram


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Parameters
    ----------
    paths
        The written files.
    summary
        One line for the user: how many picks, in which unit, pixel size and extent.
    """

    paths: tuple[Path, ...]
    summary: str


@dataclass(frozen=True)
class ExportOptions:
    """How to write; see `export_picks` for the fields."""

    grids: dict[str, VoxelGrid]
    centre: Centre
    tilt_series_pixel_size_angstrom: float | None
    geometries: dict[str, TomogramGeometry]
    relion_project: Path | None

    def pixel_size_angstrom(self, run: str) -> float:
        """Return the pixel size of the tilt series of a run, or its voxel spacing where that is not known."""
        if run in self.geometries:
            return self.geometries[run].pixel_size_angstrom
        return self.tilt_series_pixel_size_angstrom or self.grids[run].spacing_angstrom

    def check_geometries(self, runs: Iterable[str]) -> None:
        """Refuse unbinned sizes that do not fit the tomogram's box.

        Raises
        ------
        PicksError
            With both sizes.
        """
        for run in runs:
            if run not in self.geometries:
                continue
            geometry, grid = self.geometries[run], self.grids[run]
            unbinned = np.array(geometry.size_xyz_pixels) * geometry.pixel_size_angstrom
            box = xyz_from_zyx(grid.extent_zyx_angstrom)
            if (np.abs(unbinned - box) > _MAX_SIZE_DIFFERENCE_VOXELS * grid.spacing_angstrom).any():
                shown = " x ".join(f"{size:.1f}" for size in unbinned)
                found = f"size is {shown} A, the tomogram's is " + " x ".join(f"{size:.1f}" for size in box) + " A"
                raise PicksError(f"tomograms.star: {run}", found, "give the tomograms.star of these tomograms")


def summarize(picks: Picks, unit: str, paths: Iterable[Path]) -> Exported:
    """Return the result of an export."""
    written = tuple(paths)
    objects = len(picks.object_names)
    runs = len(picks.run_names)
    return Exported(
        written,
        f"{len(picks)} picks of {objects} object{'' if objects == 1 else 's'} in {runs} "
        f"tomogram{'' if runs == 1 else 's'}, written in {unit}; {describe_extent(picks.positions_zyx_angstrom)}",
    )


def indices_xyz(picks: Picks, grid: VoxelGrid) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return fractional array indices x, y, z of the picks of one run, the first voxel being 0."""
    return xyz_from_zyx(grid.indices_from_positions(picks.positions_zyx_angstrom))


def describe_sizes(sizes: Iterable[float]) -> str:
    """Return distinct sizes as `10.012 A` or `10 A, 13.48 A`."""
    return ", ".join(f"{size:g} A" for size in sorted(set(sizes))) or "no size"
