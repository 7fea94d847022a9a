"""The layer of ice: a plane sheet through the box, tilted, cut off by the box."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryofind.czii import TOMOGRAM_GRID
from cryofind.simulate.recipe import SampleRecipe
from cryofind.types import VoxelGrid

Floats = NDArray[np.float64]

# A margin takes no more than this share of the way from face to face: small boxes and thin ice keep room in the middle.
GREATEST_MARGIN_SHARE = 0.25

# Draws before the rest of the positions is put into the middle of the box. Reached only where there is next to no ice.
GREATEST_ROUNDS = 100


@dataclass(frozen=True)
class Slab:
    """A layer between two parallel planes, within the box of a tomogram.

    Parameters
    ----------
    grid
        Of the tomogram, its origin at 0.
    thickness_angstrom
        Along z, before the box cuts it off, Angstrom.
    middle_at_center_angstrom
        Height z of the mid-plane at the middle of the box along y and x, Angstrom.
    slope_y, slope_x
        Rise of the mid-plane along z per Angstrom along y and x.
    """

    grid: VoxelGrid
    thickness_angstrom: float
    middle_at_center_angstrom: float
    slope_y: float
    slope_x: float

    @classmethod
    def build(cls, recipe: SampleRecipe, grid: VoxelGrid) -> "Slab":
        """Return the layer of a drawn recipe; its middle is moved into the box as far as the box has room.

        A box as shallow as the layer has none: there the layer fills it.
        """
        height = grid.extent_zyx_angstrom[0]
        thickness = recipe.slab_thickness_angstrom.value
        room = max(0.0, (height - thickness) / 2)
        offset = float(np.clip(recipe.slab_offset_angstrom.value, -room, room))
        slopes = np.tan(np.radians([recipe.slab_tilt_y_degrees.value, recipe.slab_tilt_x_degrees.value]))
        return cls(grid, thickness, height / 2 + offset, float(slopes[0]), float(slopes[1]))

    @property
    def share_in_box(self) -> float:
        """Part of the layer over the box's area that lies within the box, 0 to 1."""
        _, depth, width = self.grid.extent_zyx_angstrom
        y, x = np.meshgrid((np.arange(64) + 0.5) / 64 * depth, (np.arange(64) + 0.5) / 64 * width, indexing="ij")
        low, high = self.faces_angstrom(y, x)
        return float(np.mean(high - low)) / self.thickness_angstrom

    @property
    def challenge_volumes(self) -> float:
        """Amount of sample, where a layer over the area of a challenge tomogram that the box does not cut is 1."""
        _, depth, width = self.grid.extent_zyx_angstrom
        _, challenge_depth, challenge_width = TOMOGRAM_GRID.extent_zyx_angstrom
        return depth * width / (challenge_depth * challenge_width) * self.share_in_box

    def middle_angstrom(self, y_angstrom: ArrayLike, x_angstrom: ArrayLike) -> Floats:
        """Return the height z of the mid-plane at places y, x, Angstrom, in their shape."""
        _, depth, width = self.grid.extent_zyx_angstrom
        y, x = np.asarray(y_angstrom, np.float64), np.asarray(x_angstrom, np.float64)
        return np.asarray(
            self.middle_at_center_angstrom + self.slope_y * (y - depth / 2) + self.slope_x * (x - width / 2)
        )

    def faces_angstrom(self, y_angstrom: ArrayLike, x_angstrom: ArrayLike) -> tuple[Floats, Floats]:
        """Return the heights z of the lower and upper face within the box at places y, x, Angstrom.

        They are equal where the layer has left the box.
        """
        height = self.grid.extent_zyx_angstrom[0]
        middle = self.middle_angstrom(y_angstrom, x_angstrom)
        half = self.thickness_angstrom / 2
        return np.clip(middle - half, 0.0, height), np.clip(middle + half, 0.0, height)

    def contains(
        self, positions_zyx_angstrom: Floats, *, margin_xy_angstrom: float = 0.0, margin_z_angstrom: float = 0.0
    ) -> NDArray[np.bool_]:
        """Return whether positions (N, 3) lie in the layer and the box, with a margin to the faces; shape (N,)."""
        z, y, x = positions_zyx_angstrom.T
        low, high = self._faces_within(y, x, margin_z_angstrom)
        (y_low, y_high), (x_low, x_high) = self._sides_within(margin_xy_angstrom)
        is_inside = (low <= z) & (z <= high) & (low < high)
        return np.asarray(is_inside & (y_low <= y) & (y <= y_high) & (x_low <= x) & (x <= x_high))

    def draw_positions(
        self,
        count: int,
        random: np.random.Generator,
        *,
        margin_xy_angstrom: float = 0.0,
        margin_z_angstrom: float = 0.0,
    ) -> Floats:
        """Draw positions, evenly over the layer within the box and the margins.

        Parameters
        ----------
        count
            Number of positions.
        random
            Source of randomness.
        margin_xy_angstrom, margin_z_angstrom
            Distance from the sides of the box, and along z from the faces of the layer; at most
            `GREATEST_MARGIN_SHARE` of the way to the opposite one.

        Returns
        -------
        ndarray of shape (count, 3)
            Positions zyx in Angstrom.
        """
        (y_low, y_high), (x_low, x_high) = self._sides_within(margin_xy_angstrom)
        highest = min(self.thickness_angstrom, self.grid.extent_zyx_angstrom[0])
        drawn = np.empty((0, 3))
        for _ in range(GREATEST_ROUNDS):
            if len(drawn) >= count:
                break
            tries = count - len(drawn) + 16
            y, x = random.uniform(y_low, y_high, tries), random.uniform(x_low, x_high, tries)
            low, high = self._faces_within(y, x, margin_z_angstrom)
            # Where the box leaves less of the layer, fewer are kept.
            is_kept = random.random(tries) * highest < high - low
            z = low + random.random(tries) * (high - low)
            drawn = np.concatenate([drawn, np.stack([z, y, x], axis=1)[is_kept]])
        missing = max(0, count - len(drawn))
        return np.concatenate([drawn[:count], np.tile(self._center(), (missing, 1))])

    def _center(self) -> Floats:
        _, depth, width = self.grid.extent_zyx_angstrom
        low, high = self.faces_angstrom(depth / 2, width / 2)
        return np.array([(low + high) / 2, depth / 2, width / 2])

    def _faces_within(self, y: Floats, x: Floats, margin_z_angstrom: float) -> tuple[Floats, Floats]:
        low, high = self.faces_angstrom(y, x)
        margin = np.minimum(margin_z_angstrom, GREATEST_MARGIN_SHARE * (high - low))
        return low + margin, high - margin

    def _sides_within(self, margin_xy_angstrom: float) -> tuple[tuple[float, float], tuple[float, float]]:
        _, depth, width = self.grid.extent_zyx_angstrom
        y_margin, x_margin = (min(margin_xy_angstrom, GREATEST_MARGIN_SHARE * side) for side in (depth, width))
        return (y_margin, depth - y_margin), (x_margin, width - x_margin)
