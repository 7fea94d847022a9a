"""Random changes of training crops."""

import math

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


def change_intensity(
    volume_zyx: NDArray[np.float32],
    config: AugmentConfig,
    random: Generator,
    *,
    deviation: float,
    out: NDArray[np.float32],
) -> None:
    """Write grey values scaled, shifted and with Gaussian noise.

    Parameters
    ----------
    volume_zyx
        A crop, float32; not changed.
    config
        Ranges; noise and shift in standard deviations.
    random
        Source of chance.
    deviation
        Standard deviation of the grey values of the crop's tomogram.
    out
        Contiguous float32 array of the crop's shape, which takes the result.
    """
    factor = np.float32(1 + random.uniform(-config.intensity_scale, config.intensity_scale))
    shift = np.float32(random.uniform(-config.intensity_shift, config.intensity_shift) * deviation)
    sigma = np.float32(random.uniform(0, config.noise_sigma) * deviation)
    if sigma > 0:
        random.standard_normal(out=out, dtype=np.float32)
        out *= sigma
        out += shift
        out += volume_zyx * factor
    else:
        np.multiply(volume_zyx, factor, out=out)
        out += shift


def mix_crops(arrays: tuple[NDArray[np.float32], ...], probability: float, random: Generator) -> None:
    """Mix crops of a batch in place, each with another by a share drawn from Beta(1, 1) (arXiv 1710.09412).

    Parameters
    ----------
    arrays
        Images, values and weights, each with the crop as its first axis; all are mixed by the same shares.
    probability
        Chance of each crop to be mixed.
    random
        Source of chance.
    """
    count = len(arrays[0])
    if probability <= 0 or count < 2:
        return
    partners = (np.arange(count) + random.integers(1, count, size=count)) % count
    shares = np.where(random.random(count) < probability, random.beta(1.0, 1.0, size=count), 1.0).astype(np.float32)
    for array in arrays:
        share = shares.reshape(-1, *[1] * (array.ndim - 1))
        array[...] = share * array + (1 - share) * array[partners]


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
