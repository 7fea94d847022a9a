"""Shapes of membranes: the middle surface of a bilayer as the zero of a smooth function."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.waves import Waves, draw_directions

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

# Half the thickness of a bilayer with its head groups, the room to leave beside the middle surface.
HALF_THICKNESS_ANGSTROM = 25.0

# A sheet fades over this length at its outline.
EDGE_ANGSTROM = 40.0


class Surface(Protocol):
    """The middle of a bilayer."""

    @property
    def area_square_angstrom(self) -> float:
        """About its area."""

    @property
    def bounds_zyx_angstrom(self) -> tuple[Floats, Floats]:
        """Least and greatest corner of a box that holds it, each of shape (3,)."""

    @property
    def slope(self) -> float:
        """Least rise of the level per Angstrom near the surface, without its undulations."""

    def level(self, positions_zyx_angstrom: Floats) -> Floats32:
        """Return a smooth function of places (..., 3), shape (...), that is 0 on the surface."""

    def presence(self, positions_zyx_angstrom: Floats) -> Floats32:
        """Return how much of the membrane there is at places (..., 3), 0 to 1, shape (...)."""

    def draw_points(self, count: int, random: np.random.Generator) -> tuple[Floats, Floats]:
        """Return points on the surface and unit normals there, each of shape (count, 3)."""


@dataclass(frozen=True, eq=False)
class Vesicle:
    """A closed bilayer: an ellipsoid with low undulations.

    Parameters
    ----------
    center_zyx_angstrom
        Shape (3,).
    axes_angstrom
        Half axes, shape (3,).
    rotation_zyx
        From the axes to the tomogram, shape (3, 3).
    undulation
        Relative deviation of the radius, over unit vectors.
    gaps
        There is no membrane where this field over the distance from the centre, in Angstrom, is above 1; None: closed.
    """

    center_zyx_angstrom: Floats
    axes_angstrom: Floats
    rotation_zyx: Floats
    undulation: Waves
    gaps: Waves | None = None

    @property
    def area_square_angstrom(self) -> float:
        """Area, by Thomsen's formula for ellipsoids (exponent 1.6075)."""
        a, b, c = self.axes_angstrom**1.6075
        return float(4 * np.pi * ((a * b + b * c + c * a) / 3) ** (1 / 1.6075))

    @property
    def volume_cubic_angstrom(self) -> float:
        """Volume within."""
        return float(4 / 3 * np.pi * np.prod(self.axes_angstrom))

    @property
    def bounds_zyx_angstrom(self) -> tuple[Floats, Floats]:
        """Corners of a box that holds it."""
        reach = 1.3 * np.linalg.norm(self.rotation_zyx * self.axes_angstrom, axis=1) + HALF_THICKNESS_ANGSTROM
        return self.center_zyx_angstrom - reach, self.center_zyx_angstrom + reach

    @property
    def slope(self) -> float:
        """Rise of the level per Angstrom along the longest axis."""
        return float(1 / self.axes_angstrom.max())

    def level(self, positions_zyx_angstrom: Floats) -> Floats32:
        """Return 0 on the surface, -1 at the centre."""
        scaled = ((positions_zyx_angstrom - self.center_zyx_angstrom) @ self.rotation_zyx) / self.axes_angstrom
        length = np.linalg.norm(scaled, axis=-1)
        directions = scaled / np.maximum(length, 1e-9)[..., None]
        return np.asarray(length / (1 + self.undulation.at(directions)) - 1, np.float32)

    def presence(self, positions_zyx_angstrom: Floats) -> Floats32:
        """Return 1, and 0 in gaps."""
        return _presence_beside_gaps(self.gaps, positions_zyx_angstrom - self.center_zyx_angstrom)

    def draw_points(self, count: int, random: np.random.Generator) -> tuple[Floats, Floats]:
        """Return points on the surface, a little denser at its ends, and normals of the plain ellipsoid."""
        directions = draw_directions(count, random)
        points = directions * (1 + self.undulation.at(directions).astype(np.float64))[:, None] * self.axes_angstrom
        normals = directions / self.axes_angstrom
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return self.center_zyx_angstrom + points @ self.rotation_zyx.T, normals @ self.rotation_zyx.T

    def draw_points_within(self, count: int, random: np.random.Generator) -> Floats:
        """Return points (count, 3) spread evenly over the inside, clear of the bilayer."""
        radii = random.random(count) ** (1 / 3) * np.maximum(0.1, 1 - 60 / self.axes_angstrom.min())
        points = draw_directions(count, random) * radii[:, None] * self.axes_angstrom
        return np.asarray(self.center_zyx_angstrom + points @ self.rotation_zyx.T)


@dataclass(frozen=True, eq=False)
class Sheet:
    """An open, curved patch of bilayer.

    Parameters
    ----------
    center_zyx_angstrom
        Shape (3,).
    rotation_zyx
        Columns: the normal and two directions in the plane of the patch, shape (3, 3).
    half_lengths_angstrom
        Half axes of the patch along the two directions, shape (2,).
    relief
        Height above the plane, Angstrom, over the two coordinates in Angstrom.
    outline
        Relative deviation of the patch's outline from an ellipse, over unit vectors in the plane.
    """

    center_zyx_angstrom: Floats
    rotation_zyx: Floats
    half_lengths_angstrom: Floats
    relief: Waves
    outline: Waves

    @property
    def area_square_angstrom(self) -> float:
        """Area of the plane ellipse."""
        return float(np.pi * np.prod(self.half_lengths_angstrom))

    @property
    def bounds_zyx_angstrom(self) -> tuple[Floats, Floats]:
        """Corners of a box that holds it."""
        height = np.abs(self.relief.amplitudes).sum() + HALF_THICKNESS_ANGSTROM
        reach = np.abs(self.rotation_zyx) @ np.concatenate([[height], 1.3 * self.half_lengths_angstrom])
        return self.center_zyx_angstrom - reach, self.center_zyx_angstrom + reach

    @property
    def slope(self) -> float:
        """Rise of the height along the normal."""
        return 1.0

    def level(self, positions_zyx_angstrom: Floats) -> Floats32:
        """Return the height above the surface, along the normal of the plane, Angstrom."""
        local = (positions_zyx_angstrom - self.center_zyx_angstrom) @ self.rotation_zyx
        return np.asarray(local[..., 0] - self.relief.at(local[..., 1:]), np.float32)

    def presence(self, positions_zyx_angstrom: Floats) -> Floats32:
        """Return 1 within the outline and 0 without."""
        scaled = ((positions_zyx_angstrom - self.center_zyx_angstrom) @ self.rotation_zyx[:, 1:]) / (
            self.half_lengths_angstrom
        )
        length = np.linalg.norm(scaled, axis=-1)
        edge = 1 + self.outline.at(scaled / np.maximum(length, 1e-9)[..., None])
        softness = EDGE_ANGSTROM / self.half_lengths_angstrom.min()
        return np.asarray(np.clip((edge - length) / softness + 0.5, 0, 1), np.float32)

    def draw_points(self, count: int, random: np.random.Generator) -> tuple[Floats, Floats]:
        """Return points within the ellipse and the normal of the plane."""
        directions = draw_directions(count, random, axes=2)
        plane = directions * np.sqrt(random.random(count))[:, None] * self.half_lengths_angstrom
        local = np.concatenate([self.relief.at(plane)[:, None], plane], axis=1)
        normals = np.broadcast_to(self.rotation_zyx[:, 0], (count, 3))
        return self.center_zyx_angstrom + local @ self.rotation_zyx.T, np.array(normals)


def _presence_beside_gaps(gaps: Waves | None, offsets: Floats) -> Floats32:
    if gaps is None:
        return np.ones(offsets.shape[:-1], np.float32)
    return np.asarray(np.clip(2 * (1 - gaps.at(offsets)) + 0.5, 0, 1), np.float32)
