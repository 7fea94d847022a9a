"""Random changes of training crops."""

import math
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cryofind.config import AugmentConfig
from cryofind.types.grid import IntTriple

Floats = NDArray[np.float64]

PASTE_EDGE_FACTOR = 1.2  # a pasted particle fades out between 1 and this many radii
_PLACES_TO_TRY = 20


def draw_matrix(config: AugmentConfig, random: Generator) -> Floats:
    """Return a random linear map from crop offsets to source offsets, zyx, shape (3, 3).

    Flips, quarter turns about z, and in some crops a rotation about z by any angle and a change of size. Rotations
    about x and y tilt the missing wedge out of its place and come only with `config.tilt_degrees` > 0, in the crops
    that are rotated. Flips and quarter turns alone give a matrix of exact whole numbers.
    """
    matrix = draw_lattice_matrix(config, random)
    chance = random.random()  # one number for both, so that as many crops as can be stay unresampled
    if chance < config.rotate_z_probability:
        matrix = matrix @ _rotation_about(0, random.uniform(-math.pi, math.pi))
        if config.tilt_degrees > 0:
            for axis in (1, 2):
                tilt_degrees = random.uniform(-config.tilt_degrees, config.tilt_degrees)
                matrix = matrix @ _rotation_about(axis, math.radians(tilt_degrees))
    if chance < config.scale_probability and config.scale_range > 0:
        matrix = matrix / random.uniform(1 - config.scale_range, 1 + config.scale_range)
    return matrix


def draw_lattice_matrix(config: AugmentConfig, random: Generator) -> Floats:
    """Return a random map of flips and quarter turns about z: whole numbers, shape (3, 3)."""
    signs = np.where(random.random(3) < config.flip_probability, -1.0, 1.0)
    turns = int(random.integers(1, 4)) if random.random() < config.quarter_turn_probability else 0
    quarter = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    # + 0.0 turns -0 into 0
    return np.asarray(np.diag(signs) @ np.linalg.matrix_power(quarter, turns) + 0.0)


class Intensity(NamedTuple):
    """How the grey values of a crop change: x `factor` + `shift` + noise of standard deviation `noise_deviation`."""

    factor: float
    shift: float
    noise_deviation: float


def draw_intensity(config: AugmentConfig, random: Generator, *, deviation: float) -> Intensity:
    """Return a random change of grey values.

    Parameters
    ----------
    config
        Ranges; noise and shift in standard deviations.
    random
        Source of chance.
    deviation
        Standard deviation of the grey values of the crop's tomogram.
    """
    factor = 1 + random.uniform(-config.intensity_scale, config.intensity_scale)
    shift = random.uniform(-config.intensity_shift, config.intensity_shift) * deviation
    return Intensity(factor, shift, random.uniform(0, config.noise_sigma) * deviation)


def draw_mixing(count: int, probability: float, random: Generator) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return with which other crop each is mixed and by which share of itself, from Beta(1, 1) (arXiv 1710.09412).

    Parameters
    ----------
    count
        Number of crops B.
    probability
        Chance of each crop to be mixed; the share of the others is 1.
    random
        Source of chance.

    Returns
    -------
    partners, shares
        Shape (B,); empty if no crop can be mixed.
    """
    if probability <= 0 or count < 2:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    partners = (np.arange(count) + random.integers(1, count, size=count)) % count
    shares = np.where(random.random(count) < probability, random.beta(1.0, 1.0, size=count), 1.0)
    return partners, shares.astype(np.float32)


def find_free_place(
    shape_zyx: IntTriple,
    half_edge_voxels: int,
    *,
    taken_zyx: Floats,
    taken_reaches_voxels: Floats,
    reach_voxels: float,
    random: Generator,
) -> NDArray[np.int64] | None:
    """Return a voxel whose surroundings hold no particle, or None if chance finds none.

    Parameters
    ----------
    shape_zyx
        Shape of the crop.
    half_edge_voxels
        The cube of 2 * this + 1 voxels round the place stays inside the crop.
    taken_zyx, taken_reaches_voxels
        Crop indices and radii of the particles there, shapes (N, 3) and (N,), voxels.
    reach_voxels
        Radius that must be free, voxels.
    random
        Source of chance.
    """
    highest = np.asarray(shape_zyx) - half_edge_voxels
    if (highest <= half_edge_voxels).any():
        return None
    for place in random.integers(half_edge_voxels, highest, size=(_PLACES_TO_TRY, 3)):
        distances = np.linalg.norm(taken_zyx - place, axis=1)
        if (distances > taken_reaches_voxels + reach_voxels).all():
            return np.asarray(place)
    return None


def paste_patch(
    volume_zyx: NDArray[np.float32],
    patch_zyx: NDArray[np.float32],
    place_zyx: NDArray[np.int64],
    *,
    centre_zyx: Floats,
    particle_radius_voxels: float,
) -> NDArray[np.float32]:
    """Return a copy of a crop with the ball round a particle of another crop laid over it, with a soft edge.

    Parameters
    ----------
    volume_zyx
        The crop; not changed.
    patch_zyx
        Cube of odd edge that holds the particle.
    place_zyx
        Voxel of the crop where the middle voxel of the patch goes; the patch fits.
    centre_zyx
        Fractional index of the particle in the patch.
    particle_radius_voxels
        The patch counts fully within this radius and fades to nothing at `PASTE_EDGE_FACTOR` times it.
    """
    start = place_zyx - (np.asarray(patch_zyx.shape) - 1) // 2
    z, y, x = (slice(first, first + size) for first, size in zip(start, patch_zyx.shape, strict=True))
    squares = [np.square(np.arange(size) - middle) for size, middle in zip(patch_zyx.shape, centre_zyx, strict=True)]
    distances = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
    fade = (PASTE_EDGE_FACTOR - distances / particle_radius_voxels) / (PASTE_EDGE_FACTOR - 1)
    share = np.clip(fade, 0, 1).astype(np.float32)
    pasted = np.array(volume_zyx)
    pasted[z, y, x] += share * (patch_zyx - pasted[z, y, x])
    return pasted


def _rotation_about(axis: int, angle_radians: float) -> Floats:
    """Return the rotation of zyx column vectors about one axis (0: z, 1: y, 2: x)."""
    first, second = [other for other in range(3) if other != axis]
    rotation = np.eye(3)
    rotation[first, first] = rotation[second, second] = math.cos(angle_radians)
    rotation[first, second] = -math.sin(angle_radians)
    rotation[second, first] = math.sin(angle_radians)
    return rotation
