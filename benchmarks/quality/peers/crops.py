"""Crops: where they lie, how they are turned, and what particles they hold then.

A crop is turned as it is cut, from the tomogram around it: no corner of it is made up, and particles are moved by the
same matrix, so targets are drawn and never interpolated.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from task import Run
from torch.nn import functional

Floats = NDArray[np.float64]
Triple = tuple[int, int, int]
Random = np.random.Generator
# Returns the matrix (3, 3) from offsets in the crop to offsets in the tomogram.
DrawTurn = Callable[[Random], Floats]


@dataclass(frozen=True, eq=False)
class Points:
    """Particles in a crop: fractional indices zyx (N, 3), channels (N,), and by how much they are magnified."""

    indices_zyx: Floats
    labels: NDArray[np.int64]
    scale: float


def draw_crop(
    run: Run, size_zyx: Triple, ratios: tuple[float, ...] | None, radii_voxels: Floats, turn: Floats, random: Random
) -> tuple[NDArray[np.float32], Points]:
    """Return grey values of a crop and its particles.

    Parameters
    ----------
    ratios
        How often a crop is centred on a voxel of each class, the background first; None: crops lie anywhere.
    radii_voxels
        Radius of each object's voxels, which centres are drawn from.
    turn
        See `DrawTurn`.
    """
    centre = draw_centre(run, ratios, radii_voxels, random)
    centre = move_inside(centre, np.abs(turn) @ (np.array(size_zyx) - 1), run.volume_zyx.shape)
    middle = (np.array(size_zyx) - 1) / 2
    indices = (run.indices_zyx - centre) @ np.linalg.inv(turn).T + middle
    points = Points(indices, run.labels, float(abs(np.linalg.det(turn)) ** (-1 / 3)))
    return cut(run.volume_zyx, centre, turn, size_zyx), points


def draw_centre(run: Run, ratios: tuple[float, ...] | None, radii_voxels: Floats, random: Random) -> Floats:
    """Return where a crop is centred, voxels zyx: within a particle of a class drawn by `ratios`, or anywhere."""
    anywhere = random.uniform(0, 1, 3) * run.volume_zyx.shape
    if ratios is None:
        return np.asarray(anywhere)
    there = np.array([label == 0 or (run.labels == label).any() for label in range(len(ratios))])
    shares = np.array(ratios) * there
    label = int(random.choice(len(ratios), p=shares / shares.sum()))
    if label == 0:
        return np.asarray(anywhere)
    direction = random.normal(size=3)
    offset = direction / np.linalg.norm(direction) * radii_voxels[label - 1] * random.uniform() ** (1 / 3)
    return np.asarray(random.choice(run.indices_zyx[run.labels == label]) + offset)


def move_inside(centre: Floats, extent: Floats, shape_zyx: tuple[int, ...]) -> Floats:
    """Return the nearest centre with the crop's box inside of the tomogram and its first corner on a voxel."""
    start = np.clip(np.rint(centre - extent / 2), 0, np.maximum(0, np.floor(np.array(shape_zyx) - 1 - extent)))
    return np.asarray(start + extent / 2)


def is_exact(turn: Floats) -> bool:
    """Whether a matrix only swaps and mirrors axes."""
    return bool(np.isin(turn, (-1, 0, 1)).all())


def cut(volume_zyx: NDArray[np.float16], centre: Floats, turn: Floats, size_zyx: Triple) -> NDArray[np.float32]:
    """Return the grey values at centre + turn @ (index in the crop - its middle), float32, trilinear between voxels."""
    extent = np.abs(turn) @ (np.array(size_zyx) - 1)
    start = np.floor(centre - extent / 2 + 1e-6).astype(int)
    stop = np.ceil(centre + extent / 2 - 1e-6).astype(int) + 1
    reach = [reflect(np.arange(a, b), n) for a, b, n in zip(start, stop, volume_zyx.shape, strict=True)]
    block = volume_zyx[np.ix_(*reach)].astype(np.float32)
    if is_exact(turn):
        axes = np.abs(turn).argmax(axis=0)
        mirrored = [axis for axis in range(3) if turn[axes[axis], axis] < 0]
        return np.ascontiguousarray(np.flip(block.transpose(axes), mirrored))
    return sample(block, centre - start, turn, size_zyx)


def sample(block: NDArray[np.float32], centre: Floats, turn: Floats, size_zyx: Triple) -> NDArray[np.float32]:
    """Return the block's grey values on a turned grid, trilinear."""
    half_block = np.maximum((np.array(block.shape) - 1) / 2, 0.5)
    half_size = (np.array(size_zyx) - 1) / 2
    # torch's normalised coordinates run from -1 to 1 between the outermost voxels, in the order x, y, z.
    matrix = turn * half_size[None, :] / half_block[:, None]
    shift = (centre - (np.array(block.shape) - 1) / 2) / half_block
    theta = np.concatenate([matrix, shift[:, None]], axis=1)[::-1]
    theta = np.concatenate([theta[:, 2::-1], theta[:, 3:]], axis=1)
    grid = functional.affine_grid(torch.from_numpy(theta[None].astype(np.float32)), [1, 1, *size_zyx], True)
    images = torch.from_numpy(block)[None, None]
    sampled = functional.grid_sample(images, grid, padding_mode="border", align_corners=True)
    return np.asarray(sampled[0, 0].numpy())


def reflect(indices: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Return indices mirrored at the first and the last voxel."""
    period = max(1, 2 * (length - 1))
    folded = np.abs(indices) % period
    return np.asarray(np.minimum(folded, period - folded))
