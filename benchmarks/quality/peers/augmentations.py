"""Random changes of crops: turns, as matrices, and grey values."""

import numpy as np
from crops import DrawTurn, Floats, Random
from numpy.typing import NDArray

Crop = NDArray[np.float32]

Z, Y, X = range(3)


def draw_turns(*draws: DrawTurn) -> DrawTurn:
    """Return all turns after each other."""

    def draw(random: Random) -> Floats:
        return np.asarray(np.linalg.multi_dot([np.eye(3), *(one(random) for one in draws), np.eye(3)]))

    return draw


def flips(probability: float, axes: tuple[int, ...] = (Z, Y, X)) -> DrawTurn:
    """Mirror each axis with a probability."""

    def draw(random: Random) -> Floats:
        signs = np.ones(3)
        signs[list(axes)] -= 2 * (random.uniform(size=len(axes)) < probability)
        return np.diag(signs)

    return draw


def quarter_turns(probability: float, plane: tuple[int, int] = (Y, X)) -> DrawTurn:
    """Turn by 90, 180 or 270 degrees in a plane."""

    def draw(random: Random) -> Floats:
        count = int(random.integers(1, 4)) if random.uniform() < probability else 0
        return np.rint(rotation(plane, count * np.pi / 2))

    return draw


def rotations(probability: float, limit_radians: float, planes: tuple[tuple[int, int], ...]) -> DrawTurn:
    """Turn by up to `limit_radians` in each plane."""

    def draw(random: Random) -> Floats:
        if random.uniform() >= probability:
            return np.eye(3)
        turns = [rotation(plane, random.uniform(-limit_radians, limit_radians)) for plane in planes]
        return np.asarray(np.linalg.multi_dot([np.eye(3), *turns, np.eye(3)]))

    return draw


def affine(probability: float, limit_radians: float, scale: float) -> DrawTurn:
    """Turn about all axes by up to `limit_radians` and stretch each by up to `scale`, together."""

    def draw(random: Random) -> Floats:
        if random.uniform() >= probability:
            return np.eye(3)
        turn = rotations(1, limit_radians, ((Y, X), (Z, X), (Z, Y)))(random)
        return np.asarray(turn @ np.diag(random.uniform(1 - scale, 1 + scale, 3)))

    return draw


def rotation(plane: tuple[int, int], angle_radians: float) -> Floats:
    """Return the matrix that turns by an angle in a plane of two axes."""
    matrix = np.eye(3)
    first, second = plane
    matrix[[first, second], [first, second]] = np.cos(angle_radians)
    matrix[first, second], matrix[second, first] = -np.sin(angle_radians), np.sin(angle_radians)
    return matrix


def leave_grey(crop: Crop, random: Random) -> Crop:
    """Return the crop as it is."""
    return crop


def noise_and_contrast(crop: Crop, random: Random) -> Crop:
    """Add noise of a deviation of up to 0.1 (probability 0.3), scale by up to 0.1 (probability 0.1)."""
    if random.uniform() < 0.3:
        crop = crop + np.float32(random.uniform(0, 0.1)) * random.standard_normal(crop.shape, dtype=np.float32)
    if random.uniform() < 0.1:
        crop = crop * np.float32(random.uniform(0.9, 1.1))
    return crop
