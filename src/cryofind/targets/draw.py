"""Particles on a grid -> training target."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryofind.config import TargetConfig
from cryofind.targets.balls import NOBODY, Owners, find_shells, own_balls, own_points
from cryofind.targets.boxes import Floats
from cryofind.targets.gaussians import draw_gaussians
from cryofind.targets.regions import mark_near_picks
from cryofind.types import VoxelGrid


@dataclass(frozen=True, eq=False)
class TrainingTarget:
    """What the network is asked to say on one grid.

    Parameters
    ----------
    values
        float32 (object, z, y, x), 0 to 1; background is 1 - their sum.
    weights
        float32 (z, y, x), the weight of each cell in the loss; 0 where nothing is known.
    """

    values: NDArray[np.float32]
    weights: NDArray[np.float32]


def draw_targets(
    positions_zyx_angstrom: ArrayLike,
    channels: ArrayLike,
    radii_angstrom: ArrayLike,
    grid: VoxelGrid,
    *,
    object_count: int,
    config: TargetConfig,
    radius_factors: Sequence[float] | None = None,
    annotated_zyx: NDArray[np.bool_] | None = None,
) -> TrainingTarget:
    """Draw particles as points, balls or Gaussians on a grid.

    Points and balls are exclusive: a cell belongs to one object; unowned cells between the target and
    `config.ignore_shell_factor` x radius have weight 0. Gaussians may overlap and have no ignored shell.

    Parameters
    ----------
    positions_zyx_angstrom
        Centres, shape (N, 3), zyx, Angstrom; those outside the grid draw the part that reaches in.
    channels
        Channel of each particle, shape (N,).
    radii_angstrom
        Radius of each particle, shape (N,) or one for all, Angstrom.
    grid
        The grid of the target: `VoxelGrid.coarsened(2)` of the network's input.
    object_count
        Number of channels K.
    config
        Kind of target, its size, the ignored shell and the annotated region.
    radius_factors
        Target radius or sigma in particle radii, by channel, shape (K,); `config.radius_factor` for all when None.
    annotated_zyx
        Booleans of the grid's shape, where annotation is complete: needed for the region `mask`; given for another
        region, it takes that region's place.

    Returns
    -------
    TrainingTarget

    Raises
    ------
    ValueError
        If shapes disagree, a channel is out of range, the kind is `labels`, or the mask is missing.
    """
    particles = _check_particles(positions_zyx_angstrom, channels, radii_angstrom, object_count)
    positions, channel_rows, radii = particles
    factors = np.full(object_count, config.radius_factor) if radius_factors is None else np.asarray(radius_factors)
    target_radii = factors.astype(np.float64)[channel_rows] * radii
    is_ignored: NDArray[np.bool_] | None = None
    if config.kind == "gaussian":
        values = draw_gaussians(positions, channel_rows, target_radii, grid, object_count=object_count)
    else:
        owners = _own_cells(positions, channel_rows, target_radii, grid, kind=config.kind)
        values = _values_of_owners(owners, object_count)
        is_ignored = find_shells(owners, positions, config.ignore_shell_factor * radii, grid)
    weights = _find_annotated(positions, grid, config, annotated_zyx).astype(np.float32)
    if is_ignored is not None:
        weights[is_ignored] = 0
    return TrainingTarget(values, weights)


def _find_annotated(
    positions_zyx_angstrom: Floats,
    grid: VoxelGrid,
    config: TargetConfig,
    annotated_zyx: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Return the cells where the annotation is complete, shape `grid.shape_zyx`.

    Raises
    ------
    ValueError
        If the region is `mask` and `annotated_zyx` is missing, or its shape is not the grid's.
    """
    if annotated_zyx is not None:
        if annotated_zyx.shape != grid.shape_zyx:
            raise ValueError(f"annotated region has shape {annotated_zyx.shape}, its grid {grid.shape_zyx}")
        return annotated_zyx
    if config.annotated_region == "mask":
        raise ValueError("annotated region 'mask' needs annotated_zyx")
    if config.annotated_region == "near-picks":
        return mark_near_picks(positions_zyx_angstrom, grid, config.annotated_distance_angstrom)
    return np.ones(grid.shape_zyx, dtype=np.bool_)


def _check_particles(
    positions_zyx_angstrom: ArrayLike, channels: ArrayLike, radii_angstrom: ArrayLike, object_count: int
) -> tuple[Floats, NDArray[np.int64], Floats]:
    positions = np.asarray(positions_zyx_angstrom, dtype=np.float64).reshape(-1, 3)
    channel_rows = np.asarray(channels, dtype=np.int64).reshape(-1)
    radii = np.broadcast_to(np.asarray(radii_angstrom, dtype=np.float64), channel_rows.shape)
    if len(positions) != len(channel_rows):
        raise ValueError(f"{len(positions)} positions but {len(channel_rows)} channels")
    if len(channel_rows) and not 0 <= channel_rows.min() <= channel_rows.max() < object_count:
        raise ValueError(f"channels must lie in 0 ... {object_count - 1}, found {channel_rows.max()}")
    if not (radii > 0).all():
        raise ValueError("every radius must be positive")
    return positions, channel_rows, radii


def _own_cells(
    positions: Floats, channels: NDArray[np.int64], target_radii_angstrom: Floats, grid: VoxelGrid, *, kind: str
) -> Owners:
    if kind == "point":
        return own_points(positions, channels, grid)
    if kind == "ball":
        return own_balls(positions, channels, target_radii_angstrom, grid)
    raise ValueError(f"targets of kind '{kind}' are not drawn from positions")


def _values_of_owners(owners: Owners, object_count: int) -> NDArray[np.float32]:
    values = np.zeros((object_count, *owners.shape), dtype=np.float32)
    z, y, x = np.nonzero(owners != NOBODY)
    values[owners[z, y, x], z, y, x] = 1
    return values
