"""Tilt series of small samples, without errors of alignment unless told."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.microscope import TiltSeries, image_sample
from cryofind.simulate.recipe import MicroscopeRecipe, ReconstructionRecipe
from cryofind.types import VoxelGrid

Volume = NDArray[np.float32]

SPACING = 10.0
GRID = VoxelGrid.isotropic((32, 72, 80), SPACING)
IDEAL: dict[str, Any] = {
    "dropped_tilts": 0,
    "total_dose_electrons_per_square_angstrom": 62,
    "defocus_micrometre": 3,
    "defocus_jitter_micrometre": 0,
    "amplitude_contrast": 0.07,
    "envelope_b_square_angstrom": 0,
    "protein_potential_volts": 2.3,
    "damage": 0,
    "quantum_efficiency": 0.85,
    "shift_error_angstrom": 0,
    "angle_error_degrees": 0,
}


def microscope(**changes: Any) -> MicroscopeRecipe:
    """Return a drawn recipe without errors of alignment."""
    return MicroscopeRecipe(**(IDEAL | changes))


def reconstruction(**changes: Any) -> ReconstructionRecipe:
    """Return a drawn recipe that knows the defocus."""
    exact = {
        "defocus_error_micrometre": 0,
        "defocus_error_jitter_micrometre": 0,
        "deconvolution_constant": 0.01,
        "deconvolution_high_pass_angstrom": 0,
    }
    return ReconstructionRecipe(**(exact | changes))


def take_series(density: Volume, recipe: MicroscopeRecipe, *, thickness: float = 300.0, seed: int = 0) -> TiltSeries:
    paths = np.full(density.shape[1:], thickness, np.float32)
    grid = VoxelGrid.isotropic(density.shape, SPACING)
    return image_sample(density, paths, grid, recipe, np.random.default_rng(seed))


def draw_ball(centre_zyx: tuple[float, float, float], radius: float = 4.0) -> Volume:
    axes = np.meshgrid(*map(np.arange, GRID.shape_zyx), indexing="ij")
    distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(axes, centre_zyx, strict=True)))
    return np.asarray(1 / (1 + np.exp(2 * (distance - radius))), np.float32)
