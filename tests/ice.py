"""A layer of ice to put things into, and recipes for few of them."""

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.bilayer import MembranePainter
from cryofind.simulate.body import CUBIC_ANGSTROM_PER_KILODALTON, Body
from cryofind.simulate.recipe import SurroundingsRecipe
from cryofind.simulate.scene import Scene
from cryofind.simulate.slab import Slab
from cryofind.simulate.surfaces import Vesicle
from cryofind.simulate.waves import Waves
from cryofind.types import VoxelGrid

Floats = NDArray[np.float64]

SPACING_ANGSTROM = 10.0
MEMBRANE_LABEL = 7
FLAT = Waves(np.zeros((1, 3)), np.zeros(1), np.zeros(1))
QUIET = {
    "albumin_milligram_per_millilitre": 0,
    "lysate_milligram_per_millilitre": 0,
    "crowd_unevenness": 0,
    "distractor_count": 0,
    "clump_share": 0,
    "vesicle_count": 0,
    "membrane_sheet_count": 0,
    "membrane_contrast": 1,
    "membrane_protein_share": 0,
    "vesicle_content_milligram_per_millilitre": 0,
    "gold_count": 0,
    "carbon_probability": 0,
    "carbon_thickness_angstrom": 150,
    "thickness_variation": 0,
}
# A challenge tomogram's number of things in the small boxes of these tests.
SHALLOW = VoxelGrid.isotropic((64, 80, 96), SPACING_ANGSTROM)


class Bench:
    """The volumes of a sample, and a layer of ice that is level unless told."""

    def __init__(
        self, grid: VoxelGrid = SHALLOW, thickness_angstrom: float = 500.0, slope: float = 0.0, seed: int = 0
    ) -> None:
        self.grid = grid
        self.slab = Slab(grid, thickness_angstrom, grid.extent_zyx_angstrom[0] / 2, slope, 0.0)
        self.scene = Scene.empty(self.slab)
        self.density, self.labels = self.scene.density_zyx, self.scene.labels_zyx
        self.occupancy = self.scene.occupancy
        self.random = np.random.default_rng(seed)

    @property
    def mass_kilodalton(self) -> float:
        voxel = float(np.prod(self.grid.spacing_zyx_angstrom))
        return float(self.density.sum(dtype=np.float64)) * voxel / CUBIC_ANGSTROM_PER_KILODALTON

    @property
    def painter(self) -> MembranePainter:
        return MembranePainter(self.scene, contrast=1.0, label=MEMBRANE_LABEL)

    def positions(self) -> Floats:
        return self.grid.positions_from_indices(np.moveaxis(np.indices(self.grid.shape_zyx), 0, -1))

    def factor_for(self, count: float) -> float:
        """Return the recipe's count that makes `count` things in this box."""
        return count / self.slab.challenge_volumes


def make_recipe(**values: object) -> SurroundingsRecipe:
    return SurroundingsRecipe.model_validate({**QUIET, **values})


def make_sphere(radius_angstrom: float, grid: VoxelGrid = SHALLOW) -> Vesicle:
    return Vesicle(np.array(grid.extent_zyx_angstrom) / 2, np.full(3, radius_angstrom), np.eye(3), FLAT)


def make_body(mass_kilodalton: float = 400.0) -> Body:
    corners = 30.0 * np.array([[z, y, x] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)], np.float64)
    return Body(f"cube of {mass_kilodalton}", corners, np.full(8, mass_kilodalton / 8), 15.0)
