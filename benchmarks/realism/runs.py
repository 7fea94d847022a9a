"""What one simulated run of a project gives to the comparison."""

from dataclasses import dataclass

import numpy as np
from draws import measure_at_offsets
from measures import (
    REACH_VOXELS,
    REAL_VOXEL_ANGSTROM,
    SLICE_SPACING_ANGSTROM,
    Floats,
    RealReference,
    SliceMeasures,
    cut_slice,
    measure_slices,
)
from picture import Panel

from cryofind.io import TomogramEntry
from cryofind.types import Picks

SLAB_SHARES = (35.0, 65.0)  # percentiles of the particles' depths between which slices are cut


@dataclass(frozen=True, eq=False)
class RunMeasures:
    """What one simulated run gives: slices at some depths, and tables of contrasts."""

    run: str
    z_indices: list[int]
    slices: SliceMeasures
    single_planes: SliceMeasures
    contrast_tables: dict[str, Floats]
    panel: Panel


def measure_run(entry: TomogramEntry, picks: Picks, real: RealReference, depths: int) -> RunMeasures:
    """Read one tomogram and measure it."""
    tomogram = entry.read()
    volume = np.asarray(tomogram.volume_zyx, dtype=np.float32)
    spacing = tomogram.grid.spacing_angstrom
    z_indices = choose_depths(picks, spacing, len(volume), depths)
    middle = z_indices[len(z_indices) // 2]
    return RunMeasures(
        entry.run,
        z_indices,
        measure_slices(volume, spacing, z_indices),
        measure_slices(volume, spacing, z_indices, planes=1),
        measure_at_offsets(volume, picks, spacing, real.offsets_angstrom),
        make_panel(f"simulated, {entry.run}", cut_slice(volume, spacing, middle), picks, middle * spacing),
    )


def choose_depths(picks: Picks, spacing_angstrom: float, planes: int, depths: int) -> list[int]:
    """Return middle planes within the layer of particles (the middle of the volume without any)."""
    shares = np.linspace(*SLAB_SHARES, depths) if depths > 1 else np.array([50.0])
    if not len(picks):
        return [round(share / 100 * (planes - 1)) for share in shares]
    heights = np.percentile(picks.positions_zyx_angstrom[:, 0], shares) / spacing_angstrom
    return [int(height) for height in np.clip(np.rint(heights), 1, planes - 2)]


def make_panel(title: str, slice_yx: Floats, picks: Picks, depth_angstrom: float) -> Panel:
    """Return a picture's panel; the particles whose centres are near the slice are known to it."""
    positions = picks.positions_zyx_angstrom
    near = np.abs(positions[:, 0] - depth_angstrom) <= REACH_VOXELS * REAL_VOXEL_ANGSTROM
    return Panel(title, slice_yx, positions[near, 1:] / SLICE_SPACING_ANGSTROM)
